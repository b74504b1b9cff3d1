// ---------------------------------------------------------------- pointer: pan, pinch, lasso, box and click

// What the pointer does on the plane: `drag` is the gesture under way, `echo` the corners of the shape told last.
class Pointer {
  constructor(view) {
    this.view = view;
    this.down = new Map(); // pointer's number → place
    this.drag = null;
    this.echo = null;
  }

  listen(surface) {
    const on = (event, handler, options) => surface.addEventListener(event, handler, options);
    on('wheel', (event) => this.onWheel(event), { passive: false });
    on('pointerdown', (event) => this.onDown(event));
    on('pointermove', (event) => this.onMove(event));
    on('pointerup', (event) => this.onUp(event));
    on('pointercancel', (event) => this.onCancel(event));
    on('pointerleave', () => this.view.hover.on(-1));
    on('dblclick', (event) => this.view.zoomBy(2.2, this.place(event), true));
  }

  place(event) {
    const box = this.view.surface.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  // The shape to draw over the points: corners in CSS px.
  shape() {
    if (this.drag && this.drag.kind !== 'pan') return this.drag.path;
    return (this.echo ?? []).map(([x, y]) => this.view.toScreen(x, y));
  }

  onWheel(event) {
    event.preventDefault();
    const unit = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? 400 : 1;
    this.view.zoomBy(Math.exp(-Math.max(-240, Math.min(240, event.deltaY * unit)) * 0.0022), this.place(event));
    if (!this.drag) this.view.hover.on(-1);
  }

  onDown(event) {
    const { view } = this;
    if (event.button !== 0 || !view.points || !view.size) return;
    view.surface.focus({ preventScroll: true });
    view.surface.setPointerCapture(event.pointerId);
    const at = this.place(event);
    this.down.set(event.pointerId, at);
    this.echo = null;
    if (this.down.size === 2) {
      this.drag = { kind: 'pinch', apart: this.apart() };
      return;
    }
    const kind = event.shiftKey ? (event.altKey ? 'box' : 'lasso') : view.tools.chosen;
    this.drag = { kind, from: at, last: at, path: [at], moved: false };
    view.root.classList.toggle('dragging', kind === 'pan');
    view.hover.on(-1);
  }

  apart() {
    const [a, b] = [...this.down.values()];
    return { length: Math.hypot(a[0] - b[0], a[1] - b[1]) || 1, middle: [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2] };
  }

  onMove(event) {
    const { view, drag } = this;
    if (!view.points || !view.size) return;
    const at = this.place(event);
    if (this.down.has(event.pointerId)) this.down.set(event.pointerId, at);
    if (!drag) {
      if (event.pointerType !== 'touch') view.hover.on(this.pick(at));
    } else if (drag.kind === 'pinch') this.pinch(drag);
    else this.pull(drag, at);
  }

  pinch(drag) {
    const now = this.apart();
    this.view.panBy(now.middle[0] - drag.apart.middle[0], now.middle[1] - drag.apart.middle[1]);
    this.view.zoomBy(now.length / drag.apart.length, now.middle);
    drag.apart = now;
  }

  pull(drag, at) {
    const { view } = this;
    if (Math.hypot(at[0] - drag.from[0], at[1] - drag.from[1]) > 4) drag.moved = true;
    if (drag.kind === 'pan') {
      if (drag.moved) view.panBy(at[0] - drag.last[0], at[1] - drag.last[1]);
    } else if (drag.kind === 'box') {
      drag.path = [drag.from, [at[0], drag.from[1]], at, [drag.from[0], at[1]]];
      view.drawOverlay();
    } else if (Math.hypot(at[0] - drag.last[0], at[1] - drag.last[1]) >= 2) {
      drag.path.push(at);
      view.drawOverlay();
    }
    if (drag.kind !== 'lasso' || drag.path[drag.path.length - 1] === at) drag.last = drag.moved || drag.kind !== 'pan' ? at : drag.last;
  }

  onUp(event) {
    const { view, drag } = this;
    this.down.delete(event.pointerId);
    if (!drag) return;
    this.drag = null;
    view.root.classList.remove('dragging');
    if (drag.kind === 'pinch') return;
    if (!drag.moved) this.click(drag.from);
    else if (drag.kind === 'lasso') this.finishLasso(drag.path);
    else if (drag.kind === 'box') this.finishBox(drag.from, this.place(event));
    view.drawOverlay();
  }

  onCancel(event) {
    this.down.delete(event.pointerId);
    this.cancel();
  }

  cancel() {
    const { view } = this;
    this.drag = null;
    this.echo = null;
    view.root.classList.remove('dragging');
    if (view.size && view.style) view.drawOverlay();
  }

  pick(at, reach = this.view.style && this.view.reach()) {
    const { view } = this;
    if (!view.style) return -1;
    const [x, y] = view.toData(at[0], at[1]);
    return nearestPoint(view.points, view.style.flags, x, y, reach / view.camera.scale);
  }

  click(at, reach = this.view.reach()) {
    const row = this.pick(at, reach);
    if (row >= 0) this.view.send.trigger('clicked', row);
    return row >= 0;
  }

  finishLasso(path) {
    const corners = simplify(path, 1.2, LASSO_CORNERS).map(([px, py]) => this.view.toData(px, py).map(shortNumber));
    if (corners.length < 3) return;
    this.fade(corners);
    this.view.send.trigger('lasso', corners);
  }

  finishBox(from, to) {
    const [x0, y0] = this.view.toData(from[0], from[1]), [x1, y1] = this.view.toData(to[0], to[1]);
    const box = [Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1)].map(shortNumber);
    this.fade([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]);
    this.view.send.trigger('box', box);
  }

  // The drawn shape stays a moment, until the page has answered.
  fade(corners) {
    const { view } = this;
    this.echo = corners;
    clearTimeout(this.fading);
    this.fading = setTimeout(() => {
      this.echo = null;
      if (view.alive && view.size && view.style) view.drawOverlay();
    }, 1200);
  }

  stop() {
    clearTimeout(this.fading);
  }
}
