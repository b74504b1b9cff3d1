// Small linked histograms: bars of numbers that are brushed with pointer or keys, and bars of categories that are
// ticked. Mounted by histograms.py, which documents the message. Every bar has two lengths: grey for the whole pool,
// coloured for the rows that pass the other filters. Nothing is interpreted as markup: all text goes through
// textContent.
//
// A brush sends {chart, range: [low, high]} (null: no limit at that end), a tick {chart, names: [...]}, and the button
// beside a title {chart, clear: true}.

const SVG = 'http://www.w3.org/2000/svg';
const WIDTH = 240;
const HEIGHT = 74;
const BASE = HEIGHT - 1;

function element(tag, className, attributes = {}) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function shape(tag, className, attributes = {}) {
  const made = document.createElementNS(SVG, tag);
  if (className) made.setAttribute('class', className);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function grouped(number) {
  return Number(number).toLocaleString('en-US');
}

const COUNTED = ['words', 'tokens', 'characters']; // of these there is no half

function short(value, unit) {
  const size = Math.abs(value);
  if (value === 0) return '0';
  if (COUNTED.includes(unit)) return grouped(Math.round(value));
  const small = size >= 10000 || size < 0.001;
  const text = small ? value.toExponential(1).replace('e+', 'e') : String(Number(value.toPrecision(3)));
  return text.replaceAll('-', '−');
}

export default function histograms(component) {
  const { data, parentElement, setTriggerValue } = component;
  let root = parentElement.querySelector('.histograms');
  if (!root) {
    root = element('div', 'histograms', { role: 'group' });
    parentElement.appendChild(root);
  }
  root.setAttribute('aria-label', data.label);
  const send = (event) => setTriggerValue('brushed', event);
  const focused = parentElement.querySelector(':focus')?.dataset?.place ?? null;
  root.replaceChildren(...data.charts.map((chart) => draw(chart, send)));
  if (focused) root.querySelector(`[data-place="${CSS.escape(focused)}"]`)?.focus();
}

function draw(chart, send) {
  const box = element('section', 'chart', { 'data-chart': chart.id, 'aria-label': chart.title });
  const head = element('div', 'head');
  const title = element('span', 'title');
  title.textContent = chart.title;
  title.title = chart.title;
  head.appendChild(title);
  if (chart.filtered) {
    const clear = element('button', 'clear', { type: 'button', 'data-place': `${chart.id}/clear` });
    clear.textContent = 'Clear';
    clear.setAttribute('aria-label', `Remove the filter on ${chart.title}`);
    clear.addEventListener('click', () => send({ chart: chart.id, clear: true }));
    head.appendChild(clear);
  }
  box.appendChild(head);
  box.appendChild(chart.names ? categories(chart, send) : numbers(chart, send));
  return box;
}

// ---------------------------------------------------------------- categories

function categories(chart, send) {
  const list = element('div', 'categories');
  const most = Math.max(1, ...chart.all);
  const chosen = new Set(chart.chosen);
  chart.names.forEach((name, at) => {
    const bar = element('button', 'category', {
      type: 'button', role: 'checkbox', 'data-place': `${chart.id}/${at}`,
      'aria-checked': chosen.has(name) ? 'true' : 'false',
    });
    bar.setAttribute('aria-label', `${name}: ${grouped(chart.passing[at])} of ${grouped(chart.all[at])}`);
    bar.title = `${name}: ${grouped(chart.passing[at])} of ${grouped(chart.all[at])} pass the other filters`;
    if (chosen.size && !chosen.has(name)) bar.classList.add('out');
    const text = element('span', 'name');
    text.textContent = name;
    const track = element('span', 'track');
    const all = element('span', 'all');
    all.style.width = `${(100 * chart.all[at]) / most}%`;
    const passing = element('span', 'passing');
    passing.style.width = `${(100 * chart.passing[at]) / most}%`;
    track.append(all, passing);
    const count = element('span', 'count');
    count.textContent = grouped(chart.passing[at]);
    bar.append(text, track, count);
    bar.addEventListener('click', () => {
      const names = new Set(chosen);
      if (names.has(name)) names.delete(name);
      else names.add(name);
      const ordered = chart.names.filter((entry) => names.has(entry));
      send(ordered.length ? { chart: chart.id, names: ordered } : { chart: chart.id, clear: true });
    });
    list.appendChild(bar);
  });
  if (chart.more) {
    const more = element('div', 'more');
    more.textContent = `and ${grouped(chart.more)} more; filter by them above`;
    list.appendChild(more);
  }
  if (!chart.names.length) list.appendChild(nothing());
  return list;
}

function nothing(text = 'No sample has a value.') {
  const none = element('div', 'more');
  none.textContent = text;
  return none;
}

// ---------------------------------------------------------------- numbers

function numbers(chart, send) {
  const box = element('div', 'numbers');
  const { low, high } = chart;
  const bins = chart.all.length;
  if (!bins || !(high > low)) {
    box.appendChild(nothing(high === low && chart.all.some(Boolean) ? `Every value is ${short(low)}.` : undefined));
    return box;
  }
  const plot = shape('svg', 'plot', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none' });
  plot.setAttribute('aria-hidden', 'true');
  const most = Math.max(1, ...chart.all);
  const step = WIDTH / bins;
  const bars = (values, className) => {
    for (let at = 0; at < bins; at++) {
      if (!values[at]) continue;
      const tall = Math.max(1, (HEIGHT - 4) * Math.sqrt(values[at] / most));
      plot.appendChild(shape('rect', className, {
        x: at * step + 0.5, width: Math.max(0.5, step - 1), y: BASE - tall, height: tall, 'data-bin': at,
      }));
    }
  };
  bars(chart.all, 'all');
  bars(chart.passing, 'passing');
  if (low < 0 && high > 0) {
    const zero = (-low / (high - low)) * WIDTH;
    plot.appendChild(shape('line', 'zero', { x1: zero, x2: zero, y1: 0, y2: HEIGHT }));
  }
  const band = shape('rect', 'band', { y: 0, height: HEIGHT });
  plot.appendChild(band);
  const surface = element('div', 'surface');
  surface.appendChild(plot);
  box.appendChild(surface);

  const state = edges(chart);
  const read = element('div', 'range', { 'aria-live': 'off' });
  const handles = ['low', 'high'].map((end) => handle(chart, end, state, surface, () => paint(), () => commit()));
  surface.append(...handles);
  const left = element('span');
  const right = element('span');
  read.append(left, right);
  box.appendChild(read);

  const valueAt = (bin) => low + ((high - low) * bin) / bins;
  function paint() {
    const x = state.low * step, width = (state.high - state.low) * step;
    band.setAttribute('x', x);
    band.setAttribute('width', Math.max(0, width));
    const whole = state.low === 0 && state.high === bins;
    band.classList.toggle('whole', whole);
    plot.querySelectorAll('.passing').forEach((bar) => {
      const at = Number(bar.dataset.bin);
      bar.classList.toggle('out', at < state.low || at >= state.high);
    });
    handles.forEach((button, at) => {
      const bin = at ? state.high : state.low;
      button.style.left = `${(100 * bin) / bins}%`;
      button.setAttribute('aria-valuenow', String(bin));
      button.setAttribute('aria-valuetext', short(valueAt(bin), chart.unit));
    });
    left.textContent = short(valueAt(state.low), chart.unit);
    right.textContent = `${short(valueAt(state.high), chart.unit)}${chart.unit ? ` ${chart.unit}` : ''}`;
  }
  function commit() {
    if (state.low === 0 && state.high === bins) {
      if (chart.filtered) send({ chart: chart.id, clear: true });
      return;
    }
    send({ chart: chart.id, range: [state.low ? valueAt(state.low) : null, state.high < bins ? valueAt(state.high) : null] });
  }
  brush(surface, bins, state, paint, commit);
  paint();
  return box;
}

// The brushed bins [low, high) of a chart; all of them without a filter.
function edges(chart) {
  const bins = chart.all.length;
  const { low, high } = chart;
  const bin = (value, round) => Math.min(bins, Math.max(0, round(((value - low) / (high - low)) * bins)));
  const [least, most] = chart.range ?? [null, null];
  const state = {
    low: least === null ? 0 : bin(least, Math.round),
    high: most === null ? bins : bin(most, Math.round),
  };
  if (state.high <= state.low) state.high = Math.min(bins, state.low + 1);
  if (state.high <= state.low) state.low = state.high - 1;
  return state;
}

function handle(chart, end, state, surface, paint, commit) {
  const bins = chart.all.length;
  const button = element('div', `handle ${end}`, {
    role: 'slider', tabindex: '0', 'data-place': `${chart.id}/${end}`, 'aria-valuemin': '0',
    'aria-valuemax': String(bins), 'aria-label': `${end === 'low' ? 'Lowest' : 'Highest'} ${chart.title}`,
  });
  let timer = null;
  button.addEventListener('keydown', (event) => {
    const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -5, PageUp: 5 }[event.key];
    const far = { Home: -bins, End: bins }[event.key];
    if (step === undefined && far === undefined && event.key !== 'Enter') return;
    event.preventDefault();
    event.stopPropagation();
    clearTimeout(timer);
    if (event.key === 'Enter') return commit();
    const moved = state[end] + (step ?? far);
    state[end] = end === 'low' ? Math.max(0, Math.min(state.high - 1, moved)) : Math.min(bins, Math.max(state.low + 1, moved));
    paint();
    timer = setTimeout(commit, 500);
  });
  return button;
}

function brush(surface, bins, state, paint, commit) {
  let drag = null;
  const binAt = (event) => {
    const frame = surface.getBoundingClientRect();
    return Math.max(0, Math.min(bins, ((event.clientX - frame.left) / frame.width) * bins));
  };
  surface.addEventListener('pointerdown', (event) => {
    if (event.button !== 0) return;
    const at = binAt(event);
    const reach = bins * 0.03;
    const end = event.target.classList?.contains('handle')
      ? (event.target.classList.contains('low') ? 'low' : 'high')
      : Math.abs(at - state.low) < reach ? 'low' : Math.abs(at - state.high) < reach ? 'high' : null;
    drag = { end, from: at, kept: { ...state }, moved: false };
    surface.setPointerCapture(event.pointerId);
  });
  surface.addEventListener('pointermove', (event) => {
    if (!drag) return;
    const at = binAt(event);
    drag.moved ||= Math.abs(at - drag.from) > 0.3;
    if (!drag.moved) return;
    if (drag.end === 'low') state.low = Math.max(0, Math.min(state.high - 1, Math.round(at)));
    else if (drag.end === 'high') state.high = Math.min(bins, Math.max(state.low + 1, Math.round(at)));
    else {
      state.low = Math.floor(Math.min(at, drag.from));
      state.high = Math.max(state.low + 1, Math.ceil(Math.max(at, drag.from)));
    }
    paint();
  });
  const end = (keep) => () => {
    if (!drag) return;
    const { moved, kept } = drag;
    drag = null;
    if (moved && keep) return commit();
    Object.assign(state, kept);
    paint();
  };
  surface.addEventListener('pointerup', end(true));
  surface.addEventListener('pointercancel', end(false));
}
