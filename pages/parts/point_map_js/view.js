// ---------------------------------------------------------------- the visible map

const TOOLS = [
  ['pan', 'Move the map (P)', 'M12 3v18M3 12h18M12 3l-3 3M12 3l3 3M12 21l-3-3M12 21l3-3M3 12l3-3M3 12l3 3M21 12l-3-3M21 12l-3 3'],
  ['lasso', 'Lasso points (L), or hold Shift and drag', 'M12 4c5 0 9 2.6 9 6s-4 6-9 6-9-2.6-9-6 4-6 9-6zM7.500 15.400c-2 .6-2 3 0 3.100 1.800.1 1.800 2 .5 3'],
  ['box', 'Select a box (B), or hold Shift and Alt and drag', 'M4 8V4h4M16 4h4v4M20 16v4h-4M8 20H4v-4M11 4h2M11 20h2M4 11v2M20 11v2'],
];
const ACTIONS = [
  ['in', 'Zoom in (+)', 'M12 5v14M5 12h14'],
  ['out', 'Zoom out (−)', 'M5 12h14'],
  ['fit', 'Show all points (0)', 'M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5'],
  ['focus', 'Show what is selected or left by the filters (F)', 'M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2v4M12 18v4M2 12h4M18 12h4'],
  ['labels', 'Labels on or off (T)', 'M4 5h9l7 7-7 7H4zM8 10v4'],
];

function element(tag, className, attributes = {}) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function drawing(tag, className, attributes = {}) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
  if (className) made.setAttribute('class', className);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function icon(path) {
  const svg = drawing('svg', 'icon', { viewBox: '0 0 24 24', 'aria-hidden': 'true' });
  svg.appendChild(drawing('path', '', { d: path }));
  return svg;
}

class MapView extends Plane {
  constructor(name, parent) {
    super();
    this.name = name;
    this.tool = 'pan';
    this.labelsOn = true;
    this.camera = { x: 0, y: 0, scale: 1 };
    this.budget = 120000;
    this.texts = new Map();
    this.pointers = new Map();
    this.hovered = -1;
    this.alive = true;
    this.data = { labels: [], outlines: [], hover: null, asksHover: false, height: 560, legend: null, weights: false };
    this.build(parent);
    this.openRenderer();
    this.listen();
  }

  build(parent) {
    this.root = element('div', 'map', { 'data-touchstone-map': this.name });
    this.surface = element('div', 'surface', { tabindex: '0', role: 'application' });
    this.canvas = element('canvas', 'points', { 'aria-hidden': 'true' });
    this.overlay = drawing('svg', 'overlay', { 'aria-hidden': 'true' });
    this.shapes = {};
    for (const [name, tag] of [['outlines', 'path'], ['drawn', 'path'], ['cross', 'path'], ['halo', 'circle'], ['ring', 'circle']]) {
      this.shapes[name] = drawing(tag, name);
      this.overlay.appendChild(this.shapes[name]);
    }
    this.labelLayer = element('div', 'labels');
    this.surface.append(this.canvas, this.overlay, this.labelLayer);
    this.frameBox = element('div', 'frame');
    this.foot = element('div', 'foot');
    this.bar = element('div', 'bar', { role: 'toolbar', 'aria-label': 'Map tools', 'aria-orientation': 'vertical' });
    this.buttons = {};
    for (const group of [TOOLS, ACTIONS]) {
      const box = element('div', 'group');
      for (const [id, title, path] of group) {
        const button = element('button', '', { type: 'button', title, 'aria-label': title, 'data-action': id });
        button.appendChild(icon(path));
        button.addEventListener('click', () => this.act(id));
        button.tabIndex = id === 'pan' ? 0 : -1; // a toolbar is one stop of the tab key, arrow keys go on from there
        button.addEventListener('focus', () => Object.values(this.buttons).forEach((other) => { other.tabIndex = other === button ? 0 : -1; }));
        this.buttons[id] = button;
        box.appendChild(button);
      }
      this.bar.appendChild(box);
    }
    this.card = element('div', 'card', { role: 'status' });
    this.status = element('div', 'status', { 'aria-live': 'polite' });
    this.notice = element('div', 'notice', { role: 'note' });
    this.spoken = element('div', 'spoken', { 'aria-live': 'polite' });
    this.frameBox.append(this.surface, this.bar, this.status, this.notice, this.card, this.spoken);
    this.root.append(this.frameBox, this.foot);
    parent.appendChild(this.root);
    this.root.dataset.hovered = -1;
    this.setTool('pan');
    this.buttons.labels.setAttribute('aria-pressed', 'true');
  }

  openRenderer() {
    const renderer = GlRenderer.open(this.canvas);
    this.sampled = !renderer;
    this.renderer = renderer ?? new SampleRenderer(this.canvas);
    this.root.dataset.renderer = this.renderer.name;
  }

  listen() {
    const on = (target, event, handler, options) => target.addEventListener(event, handler, options);
    on(this.surface, 'wheel', (event) => this.onWheel(event), { passive: false });
    on(this.surface, 'pointerdown', (event) => this.onDown(event));
    on(this.surface, 'pointermove', (event) => this.onMove(event));
    on(this.surface, 'pointerup', (event) => this.onUp(event));
    on(this.surface, 'pointercancel', (event) => this.onCancel(event));
    on(this.surface, 'pointerleave', () => this.hoverOn(-1));
    on(this.surface, 'dblclick', (event) => this.zoomBy(2.2, this.place(event), true));
    on(this.frameBox, 'keydown', (event) => this.onKey(event));
    on(this.root, 'transitionend', (event) => event.target === this.root && this.followTheme());
    on(this.canvas, 'webglcontextlost', (event) => {
      event.preventDefault();
      this.root.dataset.drawn = 'lost';
      this.tellStatus('The graphics device was lost; the map returns by itself.');
    });
    on(this.canvas, 'webglcontextrestored', () => {
      this.renderer.setUp();
      this.busy = false;
      this.uploaded = {};
      this.refresh();
    });
    this.resizer = new ResizeObserver(() => this.resize());
    this.resizer.observe(this.surface);
    this.followRatio();
  }

  // A window may move to a screen of another resolution without any change of its size.
  followRatio() {
    if (!this.alive) return;
    this.resize();
    window.matchMedia(`(resolution: ${window.devicePixelRatio}dppx)`)
      .addEventListener('change', () => this.followRatio(), { once: true });
  }

  // -------------------------------------------------------------- data in

  update(data) {
    this.data = data;
    this.surface.style.height = `min(${data.height}px, max(320px, 125cqi), max(320px, 85vh))`; // fits a narrow or low window
    if (data.hover) this.texts.set(data.hover.row, data.hover.text);
    this.readTheme();
    makeLabels(this);
    this.showLegend();
    this.refresh();
    this.showCard();
  }

  // The style sheet lets the background change in a millisecond, so that a change of theme is an event.
  followTheme() {
    this.readTheme();
    this.showLegend();
    this.refresh();
  }

  showLegend() {
    const { legend } = this.data;
    const wanted = JSON.stringify([legend, this.theme.dark]);
    if (wanted === this.legendMade) return;
    this.legendMade = wanted;
    const focused = this.focusedEntry();
    this.spot = null;
    this.foot.replaceChildren();
    if (!legend) return;
    drawLegend(legend, this.foot, {
      choose: (index) => this.send.trigger('legend', index),
      spot: (colour) => this.spotOn(colour),
    });
    this.foot.querySelectorAll('.entry')[focused]?.focus();
  }

  focusedEntry() {
    return [...this.foot.querySelectorAll('.entry')].indexOf(this.foot.getRootNode().activeElement);
  }

  // While an entry of the legend is pointed at, its points stand out.
  spotOn(colour) {
    this.spot = colour && hexOf(colour);
    if (this.style) this.invalidate();
  }

  readTheme() {
    const style = getComputedStyle(this.root);
    const [background, text] = ['backgroundColor', 'color'].map((name) => rgbOf(style[name]));
    const changed = this.theme && `${this.theme.background}${this.theme.text}` !== `${background}${text}`;
    const mixed = background.map((value, c) => Math.round(value + 0.42 * (text[c] - value)));
    this.theme = { background, text, dark: isDark(background), grey: [...mixed, 255] };
    if (changed) this.uploaded = { ...this.uploaded, style: null };
  }

  // Brings the renderer up to date with whatever has arrived; does nothing until positions and colours match.
  refresh() {
    const { points, style } = shared.get(this.name) ?? {};
    if (!this.alive || !this.theme || !points || !style || style.flags.length !== points.n) return;
    this.uploaded ??= {};
    let changed = false;
    if (this.uploaded.points !== points.hash) {
      this.renderer.setPoints(points);
      const first = this.points === undefined;
      this.points = points;
      this.texts.clear();
      if (this.data.hover) this.texts.set(this.data.hover.row, this.data.hover.text);
      this.restoreCamera(first);
      this.uploaded = { points: points.hash, style: null };
    }
    const wanted = `${style.hash} ${this.theme.dark}`;
    if (this.uploaded.style !== wanted) {
      changed = true;
      const twin = style.palette && style.stops?.length ? palettesTwin(style.palette, style.stops, stopsFor(style, this.theme.dark)) : style.palette;
      this.style = prepareStyle(style, points, this.theme.grey, twin);
      this.renderer.setStyle(this.style);
      this.uploaded.style = wanted;
      this.countShown();
    }
    if (changed) this.invalidate();
    else this.drawOver(); // the text of a card, a label, an outline: no reason to draw the points again
  }

  drawOver() {
    if (!this.size || !this.style) return;
    this.drawOverlay();
    placeLabels(this);
  }

  countShown() {
    const [out, plain, chosen] = this.style.groups.map((group) => group.count);
    this.filtered = out > 0;
    this.buttons.focus.disabled = !chosen && !out;
    const number = (value) => value.toLocaleString('en-GB');
    const total = this.points.valid;
    const parts = [out ? `${number(plain + chosen)} of ${number(total)} points` : `${number(total)} points`];
    if (chosen) parts.push(`${number(chosen)} selected`);
    if (this.points.n > total) parts.push(`${number(this.points.n - total)} without a place`);
    this.tellStatus(parts.join(' · '));
    const sample = Math.min(total, SAMPLE_WITHOUT_GL);
    this.notice.textContent = !this.sampled ? '' : sample < total
      ? `This browser offers no WebGL2: a sample of ${number(sample)} of ${number(total)} points is shown. A lasso still takes all of them.`
      : `This browser offers no WebGL2: all ${number(total)} points are painted without it, which is slower.`;
    this.surface.setAttribute('aria-label',
      `Map of ${parts.join(', ')}. Arrow keys move, plus and minus zoom, 0 shows all, F what is selected. `
      + 'L lassoes, B boxes, then Enter takes what is in sight; otherwise Enter opens the point in the middle. Escape cancels.');
  }

  tellStatus(text) {
    if (this.status.textContent !== text) this.status.textContent = text;
  }

  // After a move by keyboard: how many of the points that filters leave in are in sight, to those who cannot see it.
  tellInSight() {
    const inSight = [1, 2].reduce((sum, g) => sum + crowding(this.style.groups[g], this.style.coarse, this.visible()).count, 0);
    const shown = this.style.groups[1].count + this.style.groups[2].count;
    this.spoken.textContent = `About ${inSight.toLocaleString('en-GB')} of ${shown.toLocaleString('en-GB')} points are in sight.`;
  }

  // -------------------------------------------------------------- pointer and keys

  place(event) {
    const box = this.surface.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  onWheel(event) {
    event.preventDefault();
    const unit = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? 400 : 1;
    this.zoomBy(Math.exp(-Math.max(-240, Math.min(240, event.deltaY * unit)) * 0.0022), this.place(event));
    if (!this.drag) this.hoverOn(-1);
  }

  onDown(event) {
    if (event.button !== 0 || !this.points || !this.size) return;
    this.surface.focus({ preventScroll: true });
    this.surface.setPointerCapture(event.pointerId);
    const at = this.place(event);
    this.pointers.set(event.pointerId, at);
    this.echo = null;
    if (this.pointers.size === 2) {
      this.drag = { kind: 'pinch', apart: this.apart() };
      return;
    }
    const kind = event.shiftKey ? (event.altKey ? 'box' : 'lasso') : this.tool;
    this.drag = { kind, from: at, last: at, path: [at], moved: false };
    this.root.classList.toggle('dragging', kind === 'pan');
    this.hoverOn(-1);
  }

  apart() {
    const [a, b] = [...this.pointers.values()];
    return { length: Math.hypot(a[0] - b[0], a[1] - b[1]) || 1, middle: [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2] };
  }

  onMove(event) {
    if (!this.points || !this.size) return;
    const at = this.place(event);
    if (this.pointers.has(event.pointerId)) this.pointers.set(event.pointerId, at);
    const drag = this.drag;
    if (!drag) {
      if (event.pointerType !== 'touch') this.hoverOn(this.pick(at), at);
      return;
    }
    if (drag.kind === 'pinch') {
      const now = this.apart();
      this.panBy(now.middle[0] - drag.apart.middle[0], now.middle[1] - drag.apart.middle[1]);
      this.zoomBy(now.length / drag.apart.length, now.middle);
      drag.apart = now;
      return;
    }
    if (Math.hypot(at[0] - drag.from[0], at[1] - drag.from[1]) > 4) drag.moved = true;
    if (drag.kind === 'pan') {
      if (drag.moved) this.panBy(at[0] - drag.last[0], at[1] - drag.last[1]);
    } else if (drag.kind === 'box') {
      drag.path = [drag.from, [at[0], drag.from[1]], at, [drag.from[0], at[1]]];
      this.drawOverlay();
    } else if (Math.hypot(at[0] - drag.last[0], at[1] - drag.last[1]) >= 2) {
      drag.path.push(at);
      this.drawOverlay();
    }
    if (drag.kind !== 'lasso' || drag.path[drag.path.length - 1] === at) drag.last = drag.moved || drag.kind !== 'pan' ? at : drag.last;
  }

  onUp(event) {
    const drag = this.drag;
    this.pointers.delete(event.pointerId);
    if (!drag) return;
    this.drag = null;
    this.root.classList.remove('dragging');
    if (drag.kind === 'pinch') return;
    if (!drag.moved) this.click(drag.from);
    else if (drag.kind === 'lasso') this.finishLasso(drag.path);
    else if (drag.kind === 'box') this.finishBox(drag.from, this.place(event));
    this.drawOverlay();
  }

  onCancel(event) {
    this.pointers.delete(event.pointerId);
    this.cancelDrag();
  }

  cancelDrag() {
    this.drag = null;
    this.echo = null;
    this.root.classList.remove('dragging');
    if (this.size && this.style) this.drawOverlay();
  }

  click(at, reach = this.reach()) {
    const row = this.pick(at, reach);
    if (row >= 0) this.send.trigger('clicked', row);
    return row >= 0;
  }

  finishLasso(path) {
    const corners = simplify(path, 1.2, LASSO_CORNERS).map(([px, py]) => this.toData(px, py).map(shortNumber));
    if (corners.length < 3) return;
    this.fade(corners);
    this.send.trigger('lasso', corners);
  }

  finishBox(from, to) {
    const [x0, y0] = this.toData(from[0], from[1]), [x1, y1] = this.toData(to[0], to[1]);
    const box = [Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1)].map(shortNumber);
    this.fade([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]);
    this.send.trigger('box', box);
  }

  // The drawn shape stays a moment, until the page has answered.
  fade(corners) {
    this.echo = corners;
    clearTimeout(this.fading);
    this.fading = setTimeout(() => {
      this.echo = null;
      if (this.alive && this.size && this.style) this.drawOverlay();
    }, 1200);
  }

  pick(at, reach = this.style && this.reach()) {
    if (!this.style) return -1;
    const [x, y] = this.toData(at[0], at[1]);
    return nearestPoint(this.points, this.style.flags, x, y, reach / this.camera.scale);
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.size) return;
    if (this.bar.contains(event.target) && this.walkTools(event)) return;
    const step = event.shiftKey ? 200 : 60;
    const keys = {
      ArrowLeft: () => this.panBy(step, 0), ArrowRight: () => this.panBy(-step, 0),
      ArrowUp: () => this.panBy(0, step), ArrowDown: () => this.panBy(0, -step),
      '+': () => this.act('in'), '=': () => this.act('in'), '-': () => this.act('out'), _: () => this.act('out'),
      0: () => this.act('fit'), Home: () => this.act('fit'), f: () => this.act('focus'), t: () => this.act('labels'),
      p: () => this.setTool('pan'), l: () => this.setTool('lasso'), b: () => this.setTool('box'),
      Escape: () => { this.cancelDrag(); this.setTool('pan'); },
      Enter: () => this.enter(),
    };
    const onTool = this.bar.contains(event.target) && event.key === 'Enter'; // presses the button
    const action = onTool ? null : keys[event.key] ?? keys[event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    action();
    if (event.key === 'Enter') return;
    clearTimeout(this.speaking);
    this.speaking = setTimeout(() => this.alive && this.style && this.tellInSight(), 600);
  }

  // What a lasso or a box is by pointer, or a click: the whole frame, or the point in the middle.
  enter() {
    if (!this.style) return;
    const { cssWidth, cssHeight } = this.size;
    if (this.tool !== 'pan') this.finishBox([0, 0], [cssWidth, cssHeight]);
    else if (!this.click([cssWidth / 2, cssHeight / 2], Math.max(40, this.reach()))) {
      this.spoken.textContent = 'No point lies near the middle.';
    }
  }

  // Arrow keys go from tool to tool, as in any toolbar.
  walkTools(event) {
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (!step) return false;
    event.preventDefault();
    const all = Object.values(this.buttons).filter((button) => !button.disabled);
    const next = all[(all.indexOf(event.target) + step + all.length) % all.length];
    next.focus();
    return true;
  }

  act(id) {
    const actions = {
      in: () => this.zoomBy(1.6, null, true),
      out: () => this.zoomBy(1 / 1.6, null, true),
      fit: () => this.fit(true),
      focus: () => this.style && this.focus(),
      labels: () => this.toggleLabels(),
    };
    (actions[id] ?? (() => this.setTool(id)))();
  }

  toggleLabels() {
    this.labelsOn = !this.labelsOn;
    this.buttons.labels.setAttribute('aria-pressed', String(this.labelsOn));
    if (this.size && this.points) placeLabels(this);
  }

  setTool(tool) {
    this.tool = tool;
    for (const [id] of TOOLS) this.buttons[id].setAttribute('aria-pressed', String(id === tool));
    this.root.dataset.tool = tool;
  }

  // -------------------------------------------------------------- hovering

  // The ring follows the pointer; the card waits until the pointer rests, and its text is asked for only then.
  hoverOn(row, at = null) {
    if (at) this.pointerAt = at;
    if (row === this.hovered) return;
    this.hovered = row;
    this.resting = false;
    this.root.dataset.hovered = row;
    clearTimeout(this.asking);
    if (this.size && this.style) this.drawOverlay();
    this.showCard();
    if (row >= 0 && this.data.asksHover) this.asking = setTimeout(() => this.rest(row), HOVER_MS);
  }

  rest(row) {
    if (!this.alive) return;
    this.resting = true;
    if (this.texts.has(row)) this.showCard();
    else this.send.state('hovered', row);
  }

  // Beside the point, not the pointer, so that it stands still; on the side with room, wholly inside the frame.
  showCard() {
    const text = this.hovered >= 0 && this.resting ? this.texts.get(this.hovered) : undefined;
    this.card.classList.toggle('shown', Boolean(text));
    if (!text) return;
    if (this.card.textContent !== text) this.card.textContent = text;
    if (this.texts.size > 400) this.texts.delete(this.texts.keys().next().value);
    const { cssWidth, cssHeight } = this.size;
    const [x, y] = this.toScreen(this.points.xy[2 * this.hovered], this.points.xy[2 * this.hovered + 1]);
    const { offsetWidth: width, offsetHeight: height } = this.card;
    const besides = x + 16 + width <= cssWidth - 8 ? x + 16 : x - width - 16 >= 8 ? x - width - 16 : null;
    const left = besides ?? Math.min(Math.max(x - width / 2, 8), cssWidth - width - 8);
    const level = besides === null ? (y + 16 + height <= cssHeight - 8 ? y + 16 : y - height - 16) : y - height / 2;
    const top = Math.max(8, Math.min(level, cssHeight - height - 8));
    this.card.style.transform = `translate(${Math.round(Math.max(8, left))}px, ${Math.round(top)}px)`;
  }

  destroy() {
    this.alive = false;
    cancelAnimationFrame(this.frame);
    this.stopGliding();
    for (const timer of [this.settling, this.fading, this.asking, this.speaking]) clearTimeout(timer);
    this.resizer.disconnect();
    this.renderer.destroy();
    this.root.remove();
  }
}
