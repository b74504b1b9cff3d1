// ---------------------------------------------------------------- tools: what a drag does, and the buttons

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

// The toolbar beside the plane, and which tool is chosen.
class Tools {
  constructor(view) {
    this.view = view;
    this.bar = element('div', 'bar', { role: 'toolbar', 'aria-label': 'Map tools', 'aria-orientation': 'vertical' });
    this.buttons = {};
    for (const group of [TOOLS, ACTIONS]) {
      const box = element('div', 'group');
      box.append(...group.map(([id, title, path]) => this.button(id, title, path)));
      this.bar.appendChild(box);
    }
    this.buttons.labels.setAttribute('aria-pressed', 'true');
  }

  button(id, title, path) {
    const button = element('button', '', { type: 'button', title, 'aria-label': title, 'data-action': id });
    button.appendChild(icon(path));
    button.addEventListener('click', () => this.act(id));
    button.tabIndex = id === 'pan' ? 0 : -1; // a toolbar is one stop of the tab key, arrow keys go on from there
    button.addEventListener('focus', () => Object.values(this.buttons).forEach((other) => { other.tabIndex = other === button ? 0 : -1; }));
    this.buttons[id] = button;
    return button;
  }

  choose(tool) {
    this.chosen = tool;
    for (const [id] of TOOLS) this.buttons[id].setAttribute('aria-pressed', String(id === tool));
    this.view.root.dataset.tool = tool;
  }

  act(id) {
    const { view } = this;
    const actions = {
      in: () => view.zoomBy(1.6, null, true),
      out: () => view.zoomBy(1 / 1.6, null, true),
      fit: () => view.fit(true),
      focus: () => view.style && view.focus(),
      labels: () => this.toggleLabels(),
    };
    (actions[id] ?? (() => this.choose(id)))();
  }

  toggleLabels() {
    const { view } = this;
    view.labelsOn = !view.labelsOn;
    this.buttons.labels.setAttribute('aria-pressed', String(view.labelsOn));
    if (view.size && view.points) placeLabels(view);
  }

  // Arrow keys go from tool to tool, as in any toolbar.
  walk(event) {
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (!step) return false;
    event.preventDefault();
    const all = Object.values(this.buttons).filter((button) => !button.disabled);
    const next = all[(all.indexOf(event.target) + step + all.length) % all.length];
    next.focus();
    return true;
  }
}
