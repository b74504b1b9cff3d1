// ---------------------------------------------------------------- legend

// A legend on its own, or within a map: then `hand` tells of clicks (choose) and of the pointer over an entry (spot).
function drawLegend(data, parent, hand = null) {
  parent.querySelector('.legend')?.remove();
  const root = element('div', 'legend', { role: 'group', 'aria-label': `Legend: ${data.title}` });
  const title = textElement('div', 'legend-title', data.unit ? `${data.title} (${data.unit})` : data.title);
  root.appendChild(title);
  if (data.entries.length) root.appendChild(entries(data, hand));
  for (const [kind, channel] of [['doubt', data.uncertainty], ['size', data.weights]]) {
    if (channel) root.appendChild(channelLine(kind, channel));
  }
  if (data.note) root.appendChild(textElement('div', 'legend-note', data.note));
  parent.appendChild(root);
  if (data.stops.length) title.after(...ramp(data, stopsFor(data, isDark(rgbOf(getComputedStyle(root).backgroundColor)))));
  return () => {};
}

function ramp(data, stops) {
  const bar = element('div', 'ramp', { 'aria-hidden': 'true' });
  bar.style.background = `linear-gradient(to right, ${stops.join(', ')})`;
  const ticks = element('div', 'ticks');
  for (const [position, text] of data.ticks) {
    const tick = textElement('span', position < 0.08 ? 'tick first' : position > 0.92 ? 'tick last' : 'tick', text);
    tick.style.left = `${100 * position}%`;
    ticks.appendChild(tick);
  }
  return [bar, ticks];
}

function entries(data, hand) {
  const list = element('ul', 'entries');
  const anyChosen = data.entries.some(([, , , , chosen]) => chosen);
  data.entries.forEach(([colour, text, count, clickable, chosen], index) => {
    const item = element('li');
    const live = Boolean(hand && clickable);
    const box = live ? element('button', 'entry', { type: 'button', 'aria-pressed': String(Boolean(chosen)) }) : element('span', 'entry');
    const dot = element('span', 'dot', { 'aria-hidden': 'true' });
    dot.style.background = colour;
    const number = textElement('span', 'count', count.toLocaleString('en-GB'));
    box.append(dot, textElement('span', 'name', text), number);
    box.title = live ? `${text}: click to ${chosen ? 'show all again' : 'show only these'}` : text;
    box.classList.toggle('aside', anyChosen && !chosen);
    if (live) box.addEventListener('click', () => hand.choose(index));
    if (hand) {
      for (const event of ['pointerenter', 'focus']) box.addEventListener(event, () => hand.spot(colour));
      for (const event of ['pointerleave', 'blur']) box.addEventListener(event, () => hand.spot(null));
    }
    item.appendChild(box);
    list.appendChild(item);
  });
  return list;
}

// What opacity (and, close by, a hollow middle) or size means: the ends of the channel with their values.
function channelLine(kind, { title, low, high }) {
  const line = element('div', `channel ${kind}`);
  const picture = drawing('svg', 'swatches', { viewBox: '0 0 76 16', 'aria-hidden': 'true' });
  for (const [at, part] of [[8, 0], [28, 0.35], [48, 0.7], [68, 1]]) {
    const attributes = kind === 'size'
      ? { r: 1.8 + 5.2 * Math.sqrt(part) }
      : { r: 5, 'fill-opacity': 1 - 0.92 * part, 'stroke-opacity': 1 - 0.4 * part };
    picture.appendChild(drawing('circle', kind, { cx: at, cy: 8, ...attributes }));
  }
  line.append(textElement('span', 'channel-title', title), textElement('span', 'end', low), picture, textElement('span', 'end', high));
  return line;
}

