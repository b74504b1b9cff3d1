// ---------------------------------------------------------------- points

// Extent, a grid to find points by place, and a fixed random order, so that any prefix is a fair sample.
function preparePoints(points) {
  const xy = points.xy;
  const n = xy.length / 2;
  let x0 = Infinity, x1 = -Infinity, y0 = Infinity, y1 = -Infinity, valid = 0;
  for (let i = 0; i < n; i++) {
    const x = xy[2 * i], y = xy[2 * i + 1];
    if (!(Number.isFinite(x) && Number.isFinite(y))) continue;
    valid++;
    if (x < x0) x0 = x;
    if (x > x1) x1 = x;
    if (y < y0) y0 = y;
    if (y > y1) y1 = y;
  }
  if (!valid) x0 = y0 = -1, x1 = y1 = 1;
  const order = new Uint32Array(valid);
  for (let i = 0, at = 0; i < n; i++) {
    if (Number.isFinite(xy[2 * i]) && Number.isFinite(xy[2 * i + 1])) order[at++] = i;
  }
  let state = 2463534242;
  for (let i = valid - 1; i > 0; i--) {
    state ^= state << 13; state ^= state >>> 17; state ^= state << 5;
    const j = (state >>> 0) % (i + 1);
    const kept = order[i];
    order[i] = order[j];
    order[j] = kept;
  }
  const extent = { x0, x1, y0, y1 };
  return { ...points, n, valid, extent, order, grid: buildGrid(xy, order, extent), coarse: coarseGrid(xy, order, extent) };
}

// At most 256 cells along the longer side: enough to say how crowded a part of the map is. `cells`: of each in `order`.
function coarseGrid(xy, order, extent) {
  const side = Math.max(extent.x1 - extent.x0, extent.y1 - extent.y0) || 1;
  const size = side / Math.max(8, Math.min(256, Math.ceil(Math.sqrt(order.length / 3))));
  const columns = Math.floor((extent.x1 - extent.x0) / size) + 1, rows = Math.floor((extent.y1 - extent.y0) / size) + 1;
  const cells = new Uint32Array(order.length);
  for (let at = 0; at < order.length; at++) {
    const column = Math.floor((xy[2 * order[at]] - extent.x0) / size), row = Math.floor((xy[2 * order[at] + 1] - extent.y0) / size);
    cells[at] = row * columns + column;
  }
  return { size, columns, rows, x0: extent.x0, y0: extent.y0, cells };
}

function buildGrid(xy, order, extent) {
  const side = Math.max(extent.x1 - extent.x0, extent.y1 - extent.y0) || 1;
  const cells = Math.max(8, Math.min(1024, Math.ceil(Math.sqrt(order.length / 3))));
  const size = side / cells;
  const columns = Math.min(cells, Math.floor((extent.x1 - extent.x0) / size)) + 1;
  const rows = Math.min(cells, Math.floor((extent.y1 - extent.y0) / size)) + 1;
  const start = new Uint32Array(columns * rows + 1);
  const cellOf = (i) => {
    const column = Math.min(columns - 1, Math.floor((xy[2 * i] - extent.x0) / size));
    const row = Math.min(rows - 1, Math.floor((xy[2 * i + 1] - extent.y0) / size));
    return row * columns + column;
  };
  for (const i of order) start[cellOf(i) + 1]++;
  for (let c = 0; c < columns * rows; c++) start[c + 1] += start[c];
  const items = new Uint32Array(order.length);
  const next = start.slice();
  for (const i of order) items[next[cellOf(i)]++] = i;
  return { size, columns, rows, start, items, extent };
}

// The point nearest to (x, y) within `radius`, points a filter leaves in going before those it leaves out.
function nearestPoint(points, flags, x, y, radius) {
  const { xy, grid } = points;
  const { size, columns, rows, start, items, extent } = grid;
  const left = Math.max(0, Math.floor((x - radius - extent.x0) / size));
  const right = Math.min(columns - 1, Math.floor((x + radius - extent.x0) / size));
  const low = Math.max(0, Math.floor((y - radius - extent.y0) / size));
  const high = Math.min(rows - 1, Math.floor((y + radius - extent.y0) / size));
  let best = -1, bestDistance = radius * radius, bestOut = true;
  for (let row = low; row <= high; row++) {
    for (let at = start[row * columns + left] || 0, end = start[row * columns + right + 1]; at < end; at++) {
      const i = items[at];
      const dx = xy[2 * i] - x, dy = xy[2 * i + 1] - y;
      const distance = dx * dx + dy * dy;
      if (distance > radius * radius) continue;
      const out = (flags[i] & EXCLUDED) !== 0;
      if (best < 0 || (bestOut && !out) || (out === bestOut && distance < bestDistance)) {
        best = i; bestDistance = distance; bestOut = out;
      }
    }
  }
  return best;
}

// ---------------------------------------------------------------- style: colours, channels and drawing order

// Points in drawing order: excluded lie lowest, selected highest, each group in the fixed random order. Each group
// knows how many of its points lie in each coarse cell, and the area (in data units) that its cells cover.
function prepareStyle(style, points, grey, palette = style.palette) {
  const { n, order, coarse } = points;
  const flags = style.flags;
  const groups = [0, 1, 2].map(() => ({ start: 0, count: 0, area: 0, cells: new Uint32Array(coarse.columns * coarse.rows) }));
  const drawn = new Uint8Array(order.length); // the group of each in `order`
  for (let at = 0; at < order.length; at++) {
    const flag = flags[order[at]];
    const g = flag & SELECTED ? 2 : flag & EXCLUDED ? 0 : 1;
    const group = groups[g];
    drawn[at] = g;
    group.count++;
    if (!group.cells[coarse.cells[at]]++) group.area += coarse.size ** 2;
  }
  groups[1].start = groups[0].count;
  groups[2].start = groups[0].count + groups[1].count;
  const next = groups.map((group) => group.start);
  const drawing = new Uint32Array(order.length);
  for (let at = 0; at < order.length; at++) drawing[next[drawn[at]]++] = order[at];
  const greyed = new Uint32Array(new Uint8Array(grey).buffer)[0];
  const packed = new Uint32Array(n);
  const given = new Uint32Array((palette ?? style.colours).buffer);
  for (let i = 0; i < n; i++) {
    packed[i] = (flags[i] & EXCLUDED) && !(flags[i] & SELECTED) ? greyed : palette ? given[style.codes[i]] : given[i];
  }
  return { flags, drawing, colours: new Uint8Array(packed.buffer), channels: style.channels ?? null, groups, coarse };
}

// How crowded the crowded places in sight are: points per data unit², which one in ten of the occupied cells exceeds.
// `view` is the visible rectangle {x0, y0, x1, y1}; also returns how many points lie in it.
function crowding(group, coarse, view) {
  const { size, columns, rows } = coarse;
  const clamp = (value, most) => Math.max(0, Math.min(most, Math.floor(value)));
  const left = clamp((view.x0 - coarse.x0) / size, columns - 1), right = clamp((view.x1 - coarse.x0) / size, columns - 1);
  const low = clamp((view.y0 - coarse.y0) / size, rows - 1), high = clamp((view.y1 - coarse.y0) / size, rows - 1);
  const steps = new Uint32Array(128); // of a quarter of an octave
  let occupied = 0, count = 0;
  for (let row = low; row <= high; row++) {
    for (let at = row * columns + left; at <= row * columns + right; at++) {
      const points = group.cells[at];
      if (!points) continue;
      occupied++;
      count += points;
      steps[Math.min(127, Math.round(4 * Math.log2(points)))]++;
    }
  }
  let step = 127;
  for (let above = 0; step > 0; step--) {
    above += steps[step];
    if (above > 0.1 * occupied) break;
  }
  return { density: 2 ** (step / 4) / size ** 2, count };
}

