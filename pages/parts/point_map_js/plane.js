// ---------------------------------------------------------------- the plane: camera and drawing

// What a map shows of its points. MapView builds the elements, renderer, tools and data that this class draws with.
class Plane {
  resize() {
    const { width, height } = this.surface.getBoundingClientRect(); // fractions too: rounded, the picture would blur
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    if (!width || !height) return;
    const grown = this.size && this.size.cssWidth ? Math.min(width / this.size.cssWidth, height / this.size.cssHeight) : 1;
    this.size = { cssWidth: width, cssHeight: height, width: Math.round(width * ratio), height: Math.round(height * ratio), ratio };
    this.canvas.width = this.size.width;
    this.canvas.height = this.size.height;
    makeLabels(this);
    this.shapes.cross.setAttribute('d', `M${width / 2 - 7} ${height / 2}h14M${width / 2} ${height / 2 - 7}v14`);
    if (!this.placed) this.restoreCamera(true);
    else if (this.isFitted) this.fit(false);
    else this.camera.scale *= grown;
    this.invalidate();
  }

  restoreCamera(first) {
    if (!this.points || !this.size) return;
    const kept = cameras.get(this.name);
    this.placed = true;
    if (first && kept && kept.hash === this.points.hash) {
      this.camera = { x: kept.x, y: kept.y, scale: kept.scale };
      this.isFitted = kept.isFitted;
      if (!this.isFitted) return;
    }
    this.fit(false);
  }

  fit(smooth = true, extent = this.points?.extent) {
    if (!extent || !this.size) return;
    const width = Math.max(extent.x1 - extent.x0, 1e-9), height = Math.max(extent.y1 - extent.y0, 1e-9);
    const { right, top } = this.covered();
    const room = (length) => Math.max(40, length - 2 * PADDING);
    const alone = extent.x1 === extent.x0 && extent.y1 === extent.y0;
    const scale = alone ? 200 : Math.min(room(this.size.cssWidth - right) / width, room(this.size.cssHeight - top) / height);
    // The tools stand at one side, so the middle of the free area lies a little towards the other.
    const target = { x: (extent.x0 + extent.x1) / 2 + right / 2 / scale, y: (extent.y0 + extent.y1) / 2 + top / 2 / scale, scale };
    this.moveTo(target, smooth);
    this.isFitted = extent === this.points.extent;
  }

  focus() {
    const [, plain, chosen] = this.style.groups;
    const group = chosen.count ? chosen : plain;
    if (!group.count) return;
    const { xy } = this.points;
    const box = { x0: Infinity, x1: -Infinity, y0: Infinity, y1: -Infinity };
    for (let at = group.start; at < group.start + group.count; at++) {
      const i = this.style.drawing[at];
      box.x0 = Math.min(box.x0, xy[2 * i]); box.x1 = Math.max(box.x1, xy[2 * i]);
      box.y0 = Math.min(box.y0, xy[2 * i + 1]); box.y1 = Math.max(box.y1, xy[2 * i + 1]);
    }
    this.fit(true, box);
  }

  // CSS px that the tools take from the right or, where the map is narrow, from the top.
  covered() {
    const { offsetWidth: width, offsetHeight: height } = this.tools.bar;
    return height >= width ? { right: width + 12, top: 0 } : { right: 0, top: height + 8 };
  }

  moveTo(target, smooth) {
    this.stopGliding();
    const still = window.matchMedia('(prefers-reduced-motion: reduce)').matches;
    if (!smooth || still) {
      this.camera = { ...target };
      this.invalidate();
      return;
    }
    const from = { ...this.camera }, begun = performance.now();
    this.leadsTo = target;
    const step = (now) => {
      const part = Math.min(1, Math.max(0, (now - begun) / 220));
      const eased = 1 - (1 - part) ** 3;
      const scale = from.scale * (target.scale / from.scale) ** eased;
      // The place moves in step with the scale, so that a zoom about a point keeps that point still.
      const done = from.scale === target.scale ? eased : (1 / from.scale - 1 / scale) / (1 / from.scale - 1 / target.scale);
      this.camera = { x: from.x + done * (target.x - from.x), y: from.y + done * (target.y - from.y), scale };
      this.gliding = part < 1 && this.alive ? requestAnimationFrame(step) : 0;
      this.invalidate();
    };
    this.gliding = requestAnimationFrame(step);
    this.invalidate();
  }

  stopGliding() {
    cancelAnimationFrame(this.gliding);
    this.gliding = 0;
  }

  zoomBy(factor, at = null, smooth = false) {
    if (!this.size || !this.points) return;
    const { x0, x1, y0, y1 } = this.points.extent;
    const whole = Math.min(this.size.cssWidth, this.size.cssHeight) / Math.max(x1 - x0, y1 - y0, 1e-9);
    const from = smooth && this.gliding ? this.leadsTo : this.camera; // a second press adds to the first, which glides yet
    const scale = Math.min(Math.max(from.scale * factor, whole / 4), whole * 5000);
    const { cssWidth, cssHeight } = this.size;
    const [px, py] = at ?? [cssWidth / 2, cssHeight / 2];
    const x = from.x + (px - cssWidth / 2) / from.scale, y = from.y - (py - cssHeight / 2) / from.scale;
    this.isFitted = false;
    this.moveTo({ x: x - (px - cssWidth / 2) / scale, y: y + (py - cssHeight / 2) / scale, scale }, smooth);
  }

  panBy(dx, dy) {
    this.stopGliding();
    this.isFitted = false;
    this.camera.x -= dx / this.camera.scale;
    this.camera.y += dy / this.camera.scale;
    this.invalidate();
  }

  toData(px, py) {
    const { cssWidth, cssHeight } = this.size;
    return [this.camera.x + (px - cssWidth / 2) / this.camera.scale, this.camera.y - (py - cssHeight / 2) / this.camera.scale];
  }

  toScreen(x, y) {
    const { cssWidth, cssHeight } = this.size;
    return [(x - this.camera.x) * this.camera.scale + cssWidth / 2, cssHeight / 2 - (y - this.camera.y) * this.camera.scale];
  }

  // -------------------------------------------------------------- drawing

  invalidate() {
    this.stale = true;
    this.root.dataset.drawn = 'part';
    this.refining = null;
    clearTimeout(this.settling);
    if (!this.frame) this.frame = requestAnimationFrame(() => this.drawFrame());
  }

  // How the three groups look when `share` of their points are drawn: splats that touch, not smother, each other, and
  // are summed while they are crowded. A share draws larger splats, each standing for more points.
  looks(share = 1) {
    const { theme, style, size } = this;
    const part = (values) => values.map((value) => value / 255);
    const [out, plain, chosen] = style.groups;
    const few = chosen.count < 20000; // rings around more would only make a dark mass
    const range = this.data.weights ? [0.45, 1.9] : [1, 1];
    const look = (group, { least = 0, factor = 1, opacity, alpha = 1, ring = 0, ringColour = [0, 0, 0] }) => {
      const whole = Math.max(least, this.splat(group, group.count)), drawn = Math.max(least, this.splat(group, group.count * share));
      const sums = Boolean(this.renderer.canSum) && !ring && drawn < 4.5;
      const halo = !sums && !ring && drawn >= 4.5 && group !== out ? 0.7 : 0;
      const gain = whole ** 2 / (drawn ** 2 * share);
      const { density } = sums ? crowding(group, style.coarse, this.visible()) : { density: 0 };
      const smothered = sums ? 1 : Math.min(1, 1.09 * ((0.785 * drawn ** 2) / this.room(group, group.count * share)) ** -0.4);
      return {
        size: factor * drawn + 2 * (halo || ring), sums, gain, range, ring: halo || ring, opacity,
        ringColour: halo ? part(theme.background) : ringColour,
        alpha: sums ? 1 : alpha * opacity[1] * Math.max(0.16, smothered),
        crowd: (density * whole ** 2) / this.camera.scale ** 2,
        spot: this.spot && group !== out ? [...part(this.spot), 1] : [0, 0, 0, 0],
      };
    };
    return [
      look(out, { factor: 0.85, opacity: [0.14, 0.38] }),
      look(plain, { opacity: chosen.count ? [0.16, 0.5] : [0.5, 0.98] }),
      few ? look(chosen, { least: 4, factor: 1.1, opacity: [1, 1], ring: 1.4, ringColour: part(theme.text) })
        : look(chosen, { factor: 1.1, opacity: [0.55, 1] }),
    ];
  }

  // CSS px² of the map per point, where `count` points stand for the group.
  room(group, count) {
    return Math.max(group.area * this.camera.scale ** 2, 1) / Math.max(1, count);
  }

  // Side of a splat in CSS px: fewer points are never smaller than what can be seen on its own.
  splat(group, count) {
    const least = Math.min(6, Math.max(1.6, 6 * (500 / Math.max(1, count)) ** 0.22));
    return Math.min(10, Math.max(least, 0.95 * Math.sqrt(this.room(group, count))));
  }

  visible() {
    const [x0, y1] = this.toData(0, 0), [x1, y0] = this.toData(this.size.cssWidth, this.size.cssHeight);
    return { x0, y0, x1, y1 };
  }

  // The same share of every group, so that a partial drawing resembles the whole.
  parts(limit) {
    const share = Math.min(1, limit / Math.max(1, this.style.drawing.length));
    const looks = this.looks(share);
    return this.style.groups.map(({ start, count }, g) => (
      { start, count: Math.ceil(count * share), look: looks[g], first: true, last: true }));
  }

  drawFrame() {
    this.frame = 0;
    if (!this.alive || !this.size || !this.points || !this.style || !this.uploaded.style) return;
    if (this.renderer.gl?.isContextLost()) return;
    if (this.busy) {
      this.frame = requestAnimationFrame(() => this.drawFrame());
      return;
    }
    this.stale = false;
    const total = this.style.drawing.length;
    const limit = this.sampled ? SAMPLE_WITHOUT_GL : this.budget;
    const whole = total <= limit || this.sampled;
    this.renderer.draw(this.parts(limit), this.camera, this.size);
    this.drawOverlay();
    placeLabels(this);
    this.remember();
    this.busy = true;
    this.renderer.whenDone((ms) => {
      this.busy = false;
      if (!this.sampled && Math.min(total, limit) > 5000) this.adapt(ms);
      if (whole && !this.stale) this.finished(ms);
    });
    if (!whole) this.settling = setTimeout(() => this.refine(), SETTLE_MS);
  }

  adapt(ms) {
    this.budget = Math.round(Math.min(4e6, Math.max(20000, this.budget * Math.min(1.6, Math.max(0.4, FRAME_MS / Math.max(1, ms))))));
  }

  // Draws every point out of sight, a portion at a time so that the page stays alive, and then shows them at once.
  refine() {
    if (!this.alive || this.stale || !this.style) return;
    if (this.busy) {
      this.settling = setTimeout(() => this.refine(), 20);
      return;
    }
    const portions = [];
    const size = Math.max(50000, 2 * this.budget);
    for (const { start, count, look } of this.parts(Infinity)) {
      for (let from = 0; from < count; from += size) {
        const ends = { first: from === 0, last: from + size >= count };
        portions.push({ start: start + from, count: Math.min(size, count - from), look, ...ends });
      }
    }
    const work = { portions, begun: performance.now() };
    this.refining = work;
    this.refineNext(work, true);
  }

  refineNext(work, clear) {
    if (this.refining !== work || !this.alive || this.renderer.gl.isContextLost()) return;
    const portion = work.portions.shift();
    if (!portion) {
      this.renderer.reveal(this.size);
      this.refining = null;
      this.finished(performance.now() - work.begun);
      return;
    }
    this.renderer.draw([portion], this.camera, this.size, { behind: true, clear });
    this.busy = true;
    this.renderer.whenDone(() => {
      this.busy = false;
      this.refineNext(work, false);
    });
  }

  finished(ms) {
    if (this.gliding) return;
    this.root.dataset.drawn = 'whole';
    this.root.dataset.drawMs = ms.toFixed(0);
  }

  remember() {
    const { x, y, scale } = this.camera;
    cameras.set(this.name, { hash: this.points.hash, x, y, scale, isFitted: this.isFitted });
    this.root.dataset.camera = [x, y, scale].map((value) => value.toPrecision(7)).join(',');
  }

  // CSS px around a point within which it is pointed at.
  reach() {
    return Math.max(6, this.splat(this.style.groups[1], this.style.groups[1].count) / 2 + 3);
  }

  // Outlines in force, the shape being drawn, and a ring around the point under the pointer.
  drawOverlay() {
    const path = (corners) => `M${corners.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join('L')}Z`;
    const onScreen = (corners) => corners.map(([x, y]) => this.toScreen(x, y));
    this.shapes.outlines.setAttribute('d', this.data.outlines.map((corners) => path(onScreen(corners))).join(''));
    const drawn = this.pointer.shape();
    this.shapes.drawn.setAttribute('d', drawn && drawn.length > 1 ? path(drawn) : '');
    const { row } = this.hover;
    const over = row >= 0;
    const { xy } = this.points;
    const [x, y] = over ? this.toScreen(xy[2 * row], xy[2 * row + 1]) : [0, 0];
    const radius = over ? this.reach() : 0;
    for (const ring of [this.shapes.halo, this.shapes.ring]) {
      ring.setAttribute('cx', x);
      ring.setAttribute('cy', y);
      ring.setAttribute('r', radius);
    }
  }
}

