// The point map: draws up to millions of points with WebGL2, and tells the page what is lassoed, boxed, clicked
// and hovered. Mounted by point_map.py, which documents the messages.
//
// Three messages per map share this module: "points" (positions) and "style" (colours, flags) are carriers that
// show nothing themselves, "view" owns the visible element. They are joined by the map's name. Positions are
// uploaded again only when their hash changes, so the camera stays while colours and filters change.
// A fourth message, "legend", draws a colour legend. All text goes through textContent.

const EXCLUDED = 1;
const SELECTED = 2;
const FRAME_MS = 32; // what one frame may cost while the user moves; the number of points drawn adapts to it
const SETTLE_MS = 140; // after this rest every point is drawn
const HOVER_MS = 120; // the pointer rests this long before a row's text is asked for
const SAMPLE_WITHOUT_GL = 50000;
const PADDING = 28; // CSS pixels kept free around the points when all are shown

const shared = new Map(); // map name → {points, style, view}; all messages of one map meet here
const cameras = new Map(); // map name → {hash, x, y, scale}; outlives a remount of the element

// ---------------------------------------------------------------- messages

function unpack(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const headerLength = view.getUint32(4, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + headerLength)));
  const types = { float32: Float32Array, uint8: Uint8Array };
  const arrays = {};
  for (const part of header.arrays) {
    const start = bytes.byteOffset + part.offset;
    const size = part.count * types[part.type].BYTES_PER_ELEMENT;
    arrays[part.name] = new types[part.type](bytes.buffer.slice(start, start + size)); // aligned and our own
  }
  return { ...header, ...arrays };
}

function meet(name) {
  if (!shared.has(name)) shared.set(name, { points: null, style: null, view: null });
  return shared.get(name);
}

export default function pointMap(component) {
  const { data, parentElement } = component;
  const generation = (parentElement.touchstoneGeneration ?? 0) + 1;
  parentElement.touchstoneGeneration = generation;
  // Streamlit may clean up after an older call once a newer one has begun: only the latest call may tear down.
  const latest = () => parentElement.touchstoneGeneration === generation;
  if (data instanceof Uint8Array) return carry(data, parentElement, latest);
  if (data.kind === 'legend') return drawLegend(data, parentElement);
  return show(data, component, latest);
}

function carry(data, parentElement, latest) {
  const container = parentElement.host?.closest('[data-testid="stElementContainer"]');
  if (container) container.style.display = 'none';
  const header = readHeader(data);
  const map = meet(header.name);
  if (map[header.kind]?.hash !== header.hash) {
    map[header.kind] = header.kind === 'points' ? preparePoints(unpack(data)) : unpack(data);
    map.view?.refresh();
  }
  const held = map[header.kind];
  return () => {
    if (!latest() || map[header.kind] !== held) return;
    map[header.kind] = null;
    if (!map.view && !map.points && !map.style) shared.delete(header.name);
  };
}

function readHeader(bytes) {
  const length = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(4, true);
  return JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
}

function show(data, component, latest) {
  const { parentElement, setStateValue, setTriggerValue } = component;
  const map = meet(data.name);
  let view = parentElement.touchstoneView;
  if (view && view.name !== data.name) {
    view.destroy();
    view = null;
  }
  if (!view) {
    view = new MapView(data.name, parentElement);
    parentElement.touchstoneView = view;
  }
  map.view = view;
  view.send = { state: setStateValue, trigger: setTriggerValue };
  view.update(data);
  return () => {
    if (!latest()) return;
    view.destroy();
    parentElement.touchstoneView = null;
    if (map.view === view) map.view = null;
    if (!map.points && !map.style) shared.delete(data.name);
  };
}

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
  return { ...points, n, valid, extent: { x0, x1, y0, y1 }, order, grid: buildGrid(xy, order, { x0, x1, y0, y1 }) };
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
  let occupied = 0;
  for (let c = 0; c < columns * rows; c++) {
    if (start[c + 1]) occupied++;
    start[c + 1] += start[c];
  }
  const items = new Uint32Array(order.length);
  const next = start.slice();
  for (const i of order) items[next[cellOf(i)]++] = i;
  return { size, columns, rows, start, items, area: occupied * size * size, extent };
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

// ---------------------------------------------------------------- style: colours and drawing order

// Points in drawing order: excluded lie lowest, selected highest, each group in the fixed random order.
function prepareStyle(style, points, grey) {
  const { n, order } = points;
  const flags = style.flags;
  const counts = [0, 0, 0];
  const groupOf = (i) => (flags[i] & SELECTED ? 2 : flags[i] & EXCLUDED ? 0 : 1);
  for (const i of order) counts[groupOf(i)]++;
  const starts = [0, counts[0], counts[0] + counts[1]];
  const next = starts.slice();
  const drawing = new Uint32Array(order.length);
  for (const i of order) drawing[next[groupOf(i)]++] = i;
  const colours = new Uint8Array(4 * n);
  const packed = new Uint32Array(colours.buffer);
  if (style.palette) {
    const palette = new Uint32Array(style.palette.buffer);
    for (let i = 0; i < n; i++) packed[i] = palette[style.codes[i]];
  } else {
    colours.set(style.colours);
  }
  const greyed = new Uint32Array(new Uint8Array(grey).buffer)[0];
  for (let i = 0; i < n; i++) if ((flags[i] & EXCLUDED) && !(flags[i] & SELECTED)) packed[i] = greyed;
  return { flags, drawing, colours, groups: counts.map((count, g) => ({ start: starts[g], count })) };
}

// ---------------------------------------------------------------- renderers

const VERTEX = `#version 300 es
in vec2 a_position;
in vec4 a_colour;
uniform vec2 u_centre;
uniform vec2 u_scale;
uniform float u_size;
uniform float u_alpha;
out vec4 v_colour;
void main() {
  gl_Position = vec4((a_position - u_centre) * u_scale, 0.0, 1.0);
  gl_PointSize = u_size;
  v_colour = vec4(a_colour.rgb, a_colour.a * u_alpha);
}`;

const FRAGMENT = `#version 300 es
precision highp float;
in vec4 v_colour;
uniform float u_size;
uniform float u_ring;
uniform vec3 u_ringColour;
out vec4 colour;
void main() {
  float alpha = v_colour.a;
  vec3 rgb = v_colour.rgb;
  if (u_size > 2.5) {
    float radius = 0.5 * u_size;
    float distance = length(gl_PointCoord - 0.5) * u_size;
    alpha *= clamp(radius - distance + 0.5, 0.0, 1.0);
    if (alpha <= 0.0) discard;
    if (u_ring > 0.0) rgb = mix(rgb, u_ringColour, clamp(distance - (radius - u_ring) + 0.5, 0.0, 1.0));
  }
  colour = vec4(rgb * alpha, alpha);
}`;

class GlRenderer {
  static open(canvas) {
    const gl = canvas.getContext('webgl2', { antialias: false, alpha: true, premultipliedAlpha: true, depth: false });
    return gl ? new GlRenderer(canvas, gl) : null;
  }

  constructor(canvas, gl) {
    this.canvas = canvas;
    this.gl = gl;
    this.name = 'webgl2';
    this.setUp();
  }

  setUp() {
    const gl = this.gl;
    const program = gl.createProgram();
    for (const [type, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(type);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.bindAttribLocation(program, 0, 'a_position');
    gl.bindAttribLocation(program, 1, 'a_colour');
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) {
      throw new Error(`The map's shaders do not link: ${gl.getProgramInfoLog(program)}`);
    }
    this.program = program;
    this.at = {};
    for (const name of ['centre', 'scale', 'size', 'alpha', 'ring', 'ringColour']) {
      this.at[name] = gl.getUniformLocation(program, `u_${name}`);
    }
    this.positions = gl.createBuffer();
    this.colours = gl.createBuffer();
    this.indices = gl.createBuffer();
    this.layout = gl.createVertexArray();
    gl.bindVertexArray(this.layout);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.positions);
    gl.enableVertexAttribArray(0);
    gl.vertexAttribPointer(0, 2, gl.FLOAT, false, 0, 0);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.colours);
    gl.enableVertexAttribArray(1);
    gl.vertexAttribPointer(1, 4, gl.UNSIGNED_BYTE, true, 0, 0);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.indices);
    this.canvasBehind = null;
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  }

  setPoints(points) {
    this.gl.bindBuffer(this.gl.ARRAY_BUFFER, this.positions);
    this.gl.bufferData(this.gl.ARRAY_BUFFER, points.xy, this.gl.STATIC_DRAW);
  }

  setStyle(style) {
    const gl = this.gl;
    gl.bindVertexArray(this.layout);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.colours);
    gl.bufferData(gl.ARRAY_BUFFER, style.colours, gl.STATIC_DRAW);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.indices);
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, style.drawing, gl.STATIC_DRAW);
  }

  // Draws the parts [{start, count, look}] of the drawing order; `behind` keeps the result off the screen.
  draw(parts, camera, size, { behind = false, clear = true } = {}) {
    const gl = this.gl;
    gl.bindFramebuffer(gl.FRAMEBUFFER, behind ? this.behind(size) : null);
    gl.viewport(0, 0, size.width, size.height);
    if (clear) {
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT);
    }
    gl.useProgram(this.program);
    gl.bindVertexArray(this.layout);
    gl.uniform2f(this.at.centre, camera.x, camera.y);
    gl.uniform2f(this.at.scale, 2 * camera.scale / size.cssWidth, 2 * camera.scale / size.cssHeight);
    for (const { start, count, look } of parts) {
      if (!count) continue;
      gl.uniform1f(this.at.size, look.size * size.ratio);
      gl.uniform1f(this.at.alpha, look.alpha);
      gl.uniform1f(this.at.ring, look.ring * size.ratio);
      gl.uniform3f(this.at.ringColour, ...look.ringColour);
      gl.drawElements(gl.POINTS, count, gl.UNSIGNED_INT, 4 * start);
    }
  }

  behind(size) {
    const gl = this.gl;
    const kept = this.canvasBehind;
    if (kept && kept.width === size.width && kept.height === size.height) return kept.frame;
    this.dropBehind();
    const frame = gl.createFramebuffer();
    const store = gl.createRenderbuffer();
    gl.bindRenderbuffer(gl.RENDERBUFFER, store);
    gl.renderbufferStorage(gl.RENDERBUFFER, gl.RGBA8, size.width, size.height);
    gl.bindFramebuffer(gl.FRAMEBUFFER, frame);
    gl.framebufferRenderbuffer(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.RENDERBUFFER, store);
    this.canvasBehind = { frame, store, width: size.width, height: size.height };
    return frame;
  }

  dropBehind() {
    if (!this.canvasBehind) return;
    this.gl.deleteFramebuffer(this.canvasBehind.frame);
    this.gl.deleteRenderbuffer(this.canvasBehind.store);
    this.canvasBehind = null;
  }

  // Shows what was drawn behind.
  reveal(size) {
    const gl = this.gl;
    const { width, height } = size;
    gl.bindFramebuffer(gl.READ_FRAMEBUFFER, this.behind(size));
    gl.bindFramebuffer(gl.DRAW_FRAMEBUFFER, null);
    gl.blitFramebuffer(0, 0, width, height, 0, 0, width, height, gl.COLOR_BUFFER_BIT, gl.NEAREST);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
  }

  // Calls back with the milliseconds until the graphics device has finished what was asked so far.
  whenDone(callback) {
    const gl = this.gl;
    const begun = performance.now();
    const fence = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0);
    gl.flush();
    if (!fence) return callback(performance.now() - begun);
    const look = () => {
      if (gl.isContextLost()) return;
      if (gl.getSyncParameter(fence, gl.SYNC_STATUS) !== gl.SIGNALED) {
        setTimeout(look, 4);
        return;
      }
      gl.deleteSync(fence);
      callback(performance.now() - begun);
    };
    setTimeout(look, 0);
  }

  destroy() {
    const gl = this.gl;
    if (gl.isContextLost()) return;
    this.dropBehind();
    for (const buffer of [this.positions, this.colours, this.indices]) gl.deleteBuffer(buffer);
    gl.deleteVertexArray(this.layout);
    gl.deleteProgram(this.program);
    gl.getExtension('WEBGL_lose_context')?.loseContext(); // browsers allow few contexts at once
  }
}

// Without WebGL2: a sample of the points, painted pixel by pixel.
class SampleRenderer {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext('2d');
    this.name = 'sample';
  }

  setPoints(points) {
    this.points = points;
  }

  setStyle(style) {
    this.style = style;
  }

  draw(parts, camera, size) {
    const { width, height, ratio } = size;
    const image = this.context.createImageData(width, height);
    const { xy } = this.points;
    const { drawing, colours } = this.style;
    const scale = camera.scale * ratio;
    for (const { start, count, look } of parts) {
      const side = Math.max(1, Math.round(look.size * ratio * 0.85));
      for (let at = start; at < start + count; at++) {
        const i = drawing[at];
        const left = Math.round((xy[2 * i] - camera.x) * scale + width / 2 - side / 2);
        const top = Math.round(height / 2 - (xy[2 * i + 1] - camera.y) * scale - side / 2);
        const alpha = look.alpha * colours[4 * i + 3] / 255;
        for (let y = Math.max(0, top); y < Math.min(height, top + side); y++) {
          for (let x = Math.max(0, left); x < Math.min(width, left + side); x++) {
            blend(image.data, 4 * (y * width + x), colours, 4 * i, alpha);
          }
        }
      }
    }
    this.context.putImageData(image, 0, 0);
  }

  whenDone(callback) {
    setTimeout(() => callback(0), 0);
  }

  destroy() {}
}

function blend(target, at, colours, from, alpha) {
  const under = target[at + 3] / 255;
  const total = alpha + under * (1 - alpha);
  if (total <= 0) return;
  for (let c = 0; c < 3; c++) {
    target[at + c] = (colours[from + c] * alpha + target[at + c] * under * (1 - alpha)) / total;
  }
  target[at + 3] = 255 * total;
}

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

class MapView {
  constructor(name, parent) {
    this.name = name;
    this.tool = 'pan';
    this.labelsOn = true;
    this.camera = { x: 0, y: 0, scale: 1 };
    this.budget = 120000;
    this.texts = new Map();
    this.pointers = new Map();
    this.hovered = -1;
    this.alive = true;
    this.data = { labels: [], outlines: [], hover: null, asksHover: false, height: 560 };
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
    for (const [name, tag] of [['outlines', 'path'], ['drawn', 'path'], ['halo', 'circle'], ['ring', 'circle']]) {
      this.shapes[name] = drawing(tag, name);
      this.overlay.appendChild(this.shapes[name]);
    }
    this.labelLayer = element('div', 'labels');
    this.surface.append(this.canvas, this.overlay, this.labelLayer);
    this.bar = element('div', 'bar', { role: 'toolbar', 'aria-label': 'Map tools', 'aria-orientation': 'vertical' });
    this.buttons = {};
    for (const group of [TOOLS, ACTIONS]) {
      const box = element('div', 'group');
      for (const [id, title, path] of group) {
        const button = element('button', '', { type: 'button', title, 'aria-label': title, 'data-action': id });
        button.appendChild(icon(path));
        button.addEventListener('click', () => this.act(id));
        this.buttons[id] = button;
        box.appendChild(button);
      }
      this.bar.appendChild(box);
    }
    this.card = element('div', 'card', { role: 'status' });
    this.status = element('div', 'status', { 'aria-live': 'polite' });
    this.notice = element('div', 'notice', { role: 'note' });
    this.root.append(this.surface, this.bar, this.status, this.notice, this.card);
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
    on(this.surface, 'keydown', (event) => this.onKey(event));
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
  }

  // -------------------------------------------------------------- data in

  update(data) {
    this.data = data;
    this.surface.style.height = `${data.height}px`;
    if (data.hover) this.texts.set(data.hover.row, data.hover.text);
    this.readTheme();
    this.makeLabels();
    this.refresh();
    this.showCard();
  }

  readTheme() {
    const style = getComputedStyle(this.root);
    const [background, text] = ['backgroundColor', 'color'].map((name) => rgbOf(style[name]));
    const changed = this.theme && `${this.theme.background}${this.theme.text}` !== `${background}${text}`;
    const mixed = background.map((value, c) => Math.round(value + 0.42 * (text[c] - value)));
    this.theme = { background, text, grey: [...mixed, 120] };
    if (changed) this.uploaded = { ...this.uploaded, style: null };
  }

  // Brings the renderer up to date with whatever has arrived; does nothing until positions and colours match.
  refresh() {
    const { points, style } = shared.get(this.name) ?? {};
    if (!this.alive || !this.theme || !points || !style || style.flags.length !== points.n) return;
    this.uploaded ??= {};
    if (this.uploaded.points !== points.hash) {
      this.renderer.setPoints(points);
      const first = this.points === undefined;
      this.points = points;
      this.texts.clear();
      if (this.data.hover) this.texts.set(this.data.hover.row, this.data.hover.text);
      this.restoreCamera(first);
      this.uploaded = { points: points.hash, style: null };
    }
    if (this.uploaded.style !== style.hash) {
      this.style = prepareStyle(style, points, this.theme.grey);
      this.renderer.setStyle(this.style);
      this.uploaded.style = style.hash;
      this.countShown();
    }
    this.invalidate();
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
      `Map of ${parts.join(', ')}. Arrow keys move, plus and minus zoom, 0 shows all, L lassoes, B boxes, Escape cancels.`);
  }

  tellStatus(text) {
    if (this.status.textContent !== text) this.status.textContent = text;
  }

  // -------------------------------------------------------------- camera

  resize() {
    const width = this.surface.clientWidth, height = this.surface.clientHeight;
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    if (!width || !height) return;
    const grown = this.size && this.size.cssWidth ? Math.min(width / this.size.cssWidth, height / this.size.cssHeight) : 1;
    this.size = { cssWidth: width, cssHeight: height, width: Math.round(width * ratio), height: Math.round(height * ratio), ratio };
    this.canvas.width = this.size.width;
    this.canvas.height = this.size.height;
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
    const room = (length) => Math.max(40, length - 2 * PADDING);
    const alone = extent.x1 === extent.x0 && extent.y1 === extent.y0;
    const scale = alone ? 200 : Math.min(room(this.size.cssWidth - 44) / width, room(this.size.cssHeight) / height);
    // The tools stand on the right, so the middle of the free area lies a little to the left.
    const target = { x: (extent.x0 + extent.x1) / 2 + 22 / scale, y: (extent.y0 + extent.y1) / 2, scale };
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

  moveTo(target, smooth) {
    this.stopGliding();
    const still = window.matchMedia('(prefers-reduced-motion: reduce)').matches;
    if (!smooth || still) {
      this.camera = { ...target };
      this.invalidate();
      return;
    }
    const from = { ...this.camera }, begun = performance.now();
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
    const scale = Math.min(Math.max(this.camera.scale * factor, whole / 4), whole * 5000);
    const { cssWidth, cssHeight } = this.size;
    const [px, py] = at ?? [cssWidth / 2, cssHeight / 2];
    const [x, y] = this.toData(px, py);
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

  // Size and opacity of the points when `count` of them stand for all: touching, not smothering, each other.
  looks(count) {
    const { camera, theme, style } = this;
    const area = Math.max(this.points.grid.area * camera.scale ** 2, 1) / Math.max(1, count); // CSS px² per point
    const size = Math.min(10, Math.max(1.7, 0.95 * Math.sqrt(area)));
    const crowding = (0.785 * size * size) / area;
    const alpha = Math.min(0.92, Math.max(0.16, 0.92 * crowding ** -0.4));
    const part = (values) => values.map((value) => value / 255);
    const halo = size >= 4.5 ? 0.7 : 0;
    const few = style.groups[2].count < 20000; // rings around more would only make a dark mass
    return [
      { size: Math.max(1.5, 0.8 * size), alpha: Math.min(0.55, alpha), ring: 0, ringColour: [0, 0, 0] },
      { size: size + 2 * halo, alpha: style.groups[2].count ? (halo ? 0.45 : 0.25) * alpha : alpha, ring: halo, ringColour: part(theme.background) },
      { size: Math.max(size * 1.25, few ? 5 : 2) + (few ? 2.4 : 0), alpha: few ? 1 : Math.max(0.5, alpha),
        ring: few ? 1.4 : 0, ringColour: part(theme.text) },
    ];
  }

  // The same share of every group, so that a partial drawing resembles the whole.
  parts(limit) {
    const total = this.style.drawing.length;
    const share = Math.min(1, limit / Math.max(1, total));
    const looks = this.looks(total * share);
    return this.style.groups.map(({ start, count }, g) => ({ start, count: Math.ceil(count * share), look: looks[g] }));
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
    this.placeLabels();
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
        portions.push({ start: start + from, count: Math.min(size, count - from), look });
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

  // Outlines in force, the shape being drawn, and a ring around the point under the pointer.
  drawOverlay() {
    const path = (corners) => `M${corners.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join('L')}Z`;
    const onScreen = (corners) => corners.map(([x, y]) => this.toScreen(x, y));
    this.shapes.outlines.setAttribute('d', this.data.outlines.map((corners) => path(onScreen(corners))).join(''));
    const drawn = this.drag && this.drag.kind !== 'pan' ? this.drag.path : onScreen(this.echo ?? []);
    this.shapes.drawn.setAttribute('d', drawn && drawn.length > 1 ? path(drawn) : '');
    const over = this.hovered >= 0;
    const { xy } = this.points;
    const [x, y] = over ? this.toScreen(xy[2 * this.hovered], xy[2 * this.hovered + 1]) : [0, 0];
    const radius = over ? Math.max(5, this.looks(this.style.drawing.length)[1].size / 2 + 3) : 0;
    for (const ring of [this.shapes.halo, this.shapes.ring]) {
      ring.setAttribute('cx', x);
      ring.setAttribute('cy', y);
      ring.setAttribute('r', radius);
    }
  }

  // -------------------------------------------------------------- labels

  makeLabels() {
    const wanted = JSON.stringify(this.data.labels);
    if (wanted === this.labelsMade) return;
    this.labelsMade = wanted;
    this.labelLayer.replaceChildren();
    this.labels = this.data.labels.map(([x, y, text]) => {
      const node = element('div', 'label');
      node.textContent = text;
      this.labelLayer.appendChild(node);
      return { x, y, node };
    });
    for (const label of this.labels) {
      label.width = label.node.offsetWidth;
      label.height = label.node.offsetHeight;
    }
  }

  // Labels come most important first; one that would touch another, or the tools, waits for more room.
  placeLabels() {
    const { cssWidth, cssHeight } = this.size;
    const taken = [[cssWidth - 48, 0, cssWidth, this.bar.offsetHeight + 16]];
    for (const label of this.labels ?? []) {
      const [x, y] = this.toScreen(label.x, label.y);
      const inside = x > 0 && x < cssWidth && y > 0 && y < cssHeight;
      const left = Math.min(Math.max(x - label.width / 2, 4), cssWidth - label.width - 4);
      const top = Math.min(Math.max(y - label.height / 2, 4), cssHeight - label.height - 4);
      const box = [left - 5, top - 3, left + label.width + 5, top + label.height + 3];
      const free = inside && this.labelsOn && !taken.some((other) =>
        box[0] < other[2] && box[2] > other[0] && box[1] < other[3] && box[3] > other[1]);
      if (free) taken.push(box);
      label.node.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
      label.node.classList.toggle('shown', free);
    }
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

  click(at) {
    const row = this.pick(at);
    if (row >= 0) this.send.trigger('clicked', row);
  }

  finishLasso(path) {
    const corners = simplify(path, 1.2, 200).map(([px, py]) => this.toData(px, py));
    if (corners.length < 3) return;
    this.fade(corners);
    this.send.trigger('lasso', corners);
  }

  finishBox(from, to) {
    const [x0, y0] = this.toData(from[0], from[1]), [x1, y1] = this.toData(to[0], to[1]);
    const box = [Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1)];
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

  pick(at) {
    if (!this.style) return -1;
    const reach = Math.max(6, this.looks(this.style.drawing.length)[1].size / 2 + 3);
    const [x, y] = this.toData(at[0], at[1]);
    return nearestPoint(this.points, this.style.flags, x, y, reach / this.camera.scale);
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey) return;
    const step = event.shiftKey ? 200 : 60;
    const keys = {
      ArrowLeft: () => this.panBy(step, 0), ArrowRight: () => this.panBy(-step, 0),
      ArrowUp: () => this.panBy(0, step), ArrowDown: () => this.panBy(0, -step),
      '+': () => this.act('in'), '=': () => this.act('in'), '-': () => this.act('out'), _: () => this.act('out'),
      0: () => this.act('fit'), Home: () => this.act('fit'), f: () => this.act('focus'), t: () => this.act('labels'),
      p: () => this.setTool('pan'), l: () => this.setTool('lasso'), b: () => this.setTool('box'),
      Escape: () => { this.cancelDrag(); this.setTool('pan'); },
    };
    const action = keys[event.key] ?? keys[event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    action();
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
    if (this.size && this.points) this.placeLabels();
  }

  setTool(tool) {
    this.tool = tool;
    for (const [id] of TOOLS) this.buttons[id].setAttribute('aria-pressed', String(id === tool));
    this.root.dataset.tool = tool;
  }

  // -------------------------------------------------------------- hovering

  hoverOn(row, at = null) {
    if (at) this.pointerAt = at;
    if (row !== this.hovered) {
      this.hovered = row;
      this.root.dataset.hovered = row;
      clearTimeout(this.asking);
      if (this.size && this.style) this.drawOverlay();
      if (row >= 0 && this.data.asksHover && !this.texts.has(row)) {
        this.asking = setTimeout(() => this.alive && this.send.state('hovered', row), HOVER_MS);
      }
    }
    this.showCard();
  }

  showCard() {
    const text = this.hovered >= 0 ? this.texts.get(this.hovered) : undefined;
    this.card.classList.toggle('shown', Boolean(text));
    if (!text || !this.pointerAt) return;
    if (this.card.textContent !== text) this.card.textContent = text;
    if (this.texts.size > 400) this.texts.delete(this.texts.keys().next().value);
    const [x, y] = this.pointerAt;
    const { offsetWidth: width, offsetHeight: height } = this.card;
    const left = x + 18 + width > this.size.cssWidth ? x - width - 18 : x + 18;
    const top = Math.min(Math.max(y - height / 2, 8), this.size.cssHeight - height - 8);
    this.card.style.transform = `translate(${Math.max(8, left)}px, ${Math.max(8, top)}px)`;
  }

  destroy() {
    this.alive = false;
    cancelAnimationFrame(this.frame);
    this.stopGliding();
    for (const timer of [this.settling, this.fading, this.asking]) clearTimeout(timer);
    this.resizer.disconnect();
    this.renderer.destroy();
    this.root.remove();
  }
}

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

function rgbOf(text) {
  const numbers = (text.match(/[\d.]+/g) ?? []).map(Number);
  const unit = text.startsWith('color(') ? 255 : 1;
  return numbers.length >= 3 ? numbers.slice(0, 3).map((value) => Math.round(value * unit)) : [128, 128, 128];
}

// ---------------------------------------------------------------- legend

function drawLegend(data, parent) {
  parent.querySelector('.legend')?.remove();
  const root = element('div', 'legend', { role: 'group', 'aria-label': `Legend: ${data.title}` });
  const title = element('div', 'legend-title');
  title.textContent = data.unit ? `${data.title} (${data.unit})` : data.title;
  root.appendChild(title);
  if (data.stops.length) {
    const ramp = element('div', 'ramp', { 'aria-hidden': 'true' });
    ramp.style.background = `linear-gradient(to right, ${data.stops.join(', ')})`;
    const ticks = element('div', 'ticks');
    for (const [position, text] of data.ticks) {
      const tick = element('span', position < 0.08 ? 'tick first' : position > 0.92 ? 'tick last' : 'tick');
      tick.style.left = `${100 * position}%`;
      tick.textContent = text;
      ticks.appendChild(tick);
    }
    root.append(ramp, ticks);
  }
  if (data.entries.length) {
    const list = element('ul', 'entries');
    for (const [colour, text, count] of data.entries) {
      const item = element('li');
      const dot = element('span', 'dot', { 'aria-hidden': 'true' });
      dot.style.background = colour;
      const name = element('span', 'name');
      name.textContent = text;
      name.title = text;
      const number = element('span', 'count');
      number.textContent = count.toLocaleString('en-GB');
      item.append(dot, name, number);
      list.appendChild(item);
    }
    root.appendChild(list);
  }
  if (data.note) {
    const note = element('div', 'legend-note');
    note.textContent = data.note;
    root.appendChild(note);
  }
  parent.appendChild(root);
  return () => {};
}
