// ---------------------------------------------------------------- the visible map

// One map on the page: its elements, its renderer, and the data it was given. What the user does comes in through its
// tools, pointer, keys and hover; what is seen of the points is the Plane's.
class MapView extends Plane {
  constructor(name, parent) {
    super();
    this.name = name;
    this.labelsOn = true;
    this.camera = { x: 0, y: 0, scale: 1 };
    this.budget = 120000;
    this.alive = true;
    this.data = { labels: [], outlines: [], hover: null, asksHover: false, height: 560, legend: null, weights: false };
    this.tools = new Tools(this);
    this.pointer = new Pointer(this);
    this.hover = new Hover(this);
    this.keys = new Keys(this);
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
    this.status = element('div', 'status', { 'aria-live': 'polite' });
    this.notice = element('div', 'notice', { role: 'note' });
    this.spoken = element('div', 'spoken', { 'aria-live': 'polite' });
    this.frameBox.append(this.surface, this.tools.bar, this.status, this.notice, this.hover.card, this.spoken);
    this.root.append(this.frameBox, this.foot);
    parent.appendChild(this.root);
    this.root.dataset.hovered = -1;
    this.tools.choose('pan');
  }

  openRenderer() {
    const renderer = GlRenderer.open(this.canvas);
    this.sampled = !renderer;
    this.renderer = renderer ?? new SampleRenderer(this.canvas);
    this.root.dataset.renderer = this.renderer.name;
    this.root.dataset.sums = Boolean(this.renderer.canSum);
  }

  listen() {
    this.pointer.listen(this.surface);
    this.keys.listen(this.frameBox);
    this.root.addEventListener('transitionend', (event) => event.target === this.root && this.followTheme());
    this.canvas.addEventListener('webglcontextlost', (event) => {
      event.preventDefault();
      this.root.dataset.drawn = 'lost';
      tellStatus(this, 'The graphics device was lost; the map returns by itself.');
    });
    this.canvas.addEventListener('webglcontextrestored', () => {
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
    this.hover.learn(data);
    this.readTheme();
    makeLabels(this);
    this.showLegend();
    this.refresh();
    this.hover.show();
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
    if (this.uploaded.points !== points.hash) this.takePoints(points);
    const wanted = `${style.hash} ${this.theme.dark}`;
    if (this.uploaded.style === wanted) {
      this.drawOver(); // the text of a card, a label, an outline: no reason to draw the points again
      return;
    }
    this.takeStyle(style, points);
    this.uploaded.style = wanted;
    tellCounts(this);
    this.invalidate();
  }

  takePoints(points) {
    this.renderer.setPoints(points);
    const first = this.points === undefined;
    this.points = points;
    this.hover.forget();
    this.restoreCamera(first);
    this.uploaded = { points: points.hash, style: null };
  }

  takeStyle(style, points) {
    const ramped = style.palette && style.stops?.length;
    const palette = ramped ? palettesTwin(style.palette, style.stops, stopsFor(style, this.theme.dark)) : style.palette;
    this.style = prepareStyle(style, points, this.theme.grey, palette);
    this.renderer.setStyle(this.style);
  }

  drawOver() {
    if (!this.size || !this.style) return;
    this.drawOverlay();
    placeLabels(this);
  }

  destroy() {
    this.alive = false;
    cancelAnimationFrame(this.frame);
    this.stopGliding();
    clearTimeout(this.settling);
    for (const part of [this.pointer, this.hover, this.keys]) part.stop();
    this.resizer.disconnect();
    this.renderer.destroy();
    this.root.remove();
  }
}
