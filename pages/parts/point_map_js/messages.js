// The point map: draws up to millions of points with WebGL2, and tells the page what is lassoed, boxed, clicked,
// hovered and chosen in its legend. Mounted by point_map.py, which documents the messages and joins the files that it
// names, in that order, into one module.
//
// Three messages per map share this module: "points" (positions) and "style" (colours, flags, channels) are carriers
// that show nothing themselves, "view" owns the visible element. They are joined by the map's name. Positions are
// uploaded again only when their hash changes, so the camera stays while colours and filters change.
// A fourth message, "legend", draws a colour legend on its own. All text goes through textContent.

const EXCLUDED = 1;
const SELECTED = 2;
const FRAME_MS = 32; // what one frame may cost while the user moves; the number of points drawn adapts to it
const SETTLE_MS = 140; // after this rest every point is drawn
const HOVER_MS = 120; // the pointer rests this long before a row's text is asked for
const LASSO_CORNERS = 64; // of what is told; few enough to be kept in an address
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
