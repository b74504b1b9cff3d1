// ---------------------------------------------------------------- geometry and colour

// Douglas–Peucker on screen pixels; the tolerance grows until at most `most` corners remain.
function simplify(path, tolerance, most) {
  const keep = new Uint8Array(path.length);
  keep[0] = keep[path.length - 1] = 1;
  const stack = [[0, path.length - 1]];
  while (stack.length) {
    const [from, to] = stack.pop();
    const [ax, ay] = path[from], [bx, by] = path[to];
    const length = Math.hypot(bx - ax, by - ay);
    let far = 0, at = -1;
    for (let i = from + 1; i < to; i++) {
      const [x, y] = path[i];
      const off = length ? Math.abs((bx - ax) * (ay - y) - (ax - x) * (by - ay)) / length : Math.hypot(x - ax, y - ay);
      if (off > far) far = off, at = i;
    }
    if (far > tolerance) {
      keep[at] = 1;
      stack.push([from, at], [at, to]);
    }
  }
  const kept = path.filter((_, i) => keep[i]);
  return kept.length > most ? simplify(path, tolerance * 1.6, most) : kept;
}

// Positions are float32, so seven digits say all there is.
function shortNumber(value) {
  return Number(value.toPrecision(7));
}

// The stops of a legend's ramp that suit the background; the page may have guessed the theme wrongly, or it changed.
function stopsFor(legend, dark) {
  return legend.ramps ? legend.ramps[dark ? 1 : 0] : legend.stops;
}

// A palette made for one background, for the other: each colour of the ramp goes to the same place of the other ramp.
function palettesTwin(palette, from, to) {
  if (String(from) === String(to)) return palette;
  const [old, made] = [from, to].map((stops) => rampOf(stops.map(hexOf)));
  const twin = palette.slice();
  for (let at = 0; at < palette.length; at += 4) {
    if (palette[at + 3] < 255) continue; // rows without a value look the same on both
    let best = 0, bestOff = Infinity;
    for (let step = 0; step < old.length; step++) {
      const off = [0, 1, 2].reduce((sum, c) => sum + (old[step][c] - palette[at + c]) ** 2, 0);
      if (off < bestOff) best = step, bestOff = off;
    }
    for (let c = 0; c < 3; c++) twin[at + c] = Math.round(made[best][c]);
  }
  return twin;
}

function rampOf(stops, steps = 255) {
  return Array.from({ length: steps }, (_, step) => {
    const place = (step / (steps - 1)) * (stops.length - 1), low = Math.min(stops.length - 2, Math.floor(place));
    return [0, 1, 2].map((c) => stops[low][c] + (place - low) * (stops[low + 1][c] - stops[low][c]));
  });
}

function hexOf(colour) {
  return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
}

function isDark([red, green, blue]) {
  return 0.3 * red + 0.59 * green + 0.11 * blue < 128;
}

function rgbOf(text) {
  const numbers = (text.match(/[\d.]+/g) ?? []).map(Number);
  const unit = text.startsWith('color(') ? 255 : 1;
  return numbers.length >= 3 ? numbers.slice(0, 3).map((value) => Math.round(value * unit)) : [128, 128, 128];
}

