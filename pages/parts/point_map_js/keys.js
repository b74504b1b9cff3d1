// ---------------------------------------------------------------- keys: everything the pointer can do

class Keys {
  constructor(view) {
    this.view = view;
  }

  listen(frame) {
    frame.addEventListener('keydown', (event) => this.onKey(event));
  }

  // What each key does; letters in either case. `step`: CSS px that an arrow moves the map.
  actions(step) {
    const { view } = this;
    const { tools } = view;
    return {
      ArrowLeft: () => view.panBy(step, 0), ArrowRight: () => view.panBy(-step, 0),
      ArrowUp: () => view.panBy(0, step), ArrowDown: () => view.panBy(0, -step),
      '+': () => tools.act('in'), '=': () => tools.act('in'), '-': () => tools.act('out'), _: () => tools.act('out'),
      0: () => tools.act('fit'), Home: () => tools.act('fit'), f: () => tools.act('focus'), t: () => tools.act('labels'),
      p: () => tools.choose('pan'), l: () => tools.choose('lasso'), b: () => tools.choose('box'),
      Escape: () => { view.pointer.cancel(); tools.choose('pan'); },
      Enter: () => this.enter(),
    };
  }

  onKey(event) {
    const { view } = this;
    if (event.ctrlKey || event.metaKey || event.altKey || !view.size) return;
    const onTool = view.tools.bar.contains(event.target);
    if (onTool && view.tools.walk(event)) return;
    if (onTool && event.key === 'Enter') return; // presses the button
    const actions = this.actions(event.shiftKey ? 200 : 60);
    const action = actions[event.key] ?? actions[event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    action();
    if (event.key === 'Enter') return;
    clearTimeout(this.speaking);
    this.speaking = setTimeout(() => view.alive && view.style && tellInSight(view), 600);
  }

  // What a lasso or a box is by pointer, or a click: the whole frame, or the point in the middle.
  enter() {
    const { view } = this;
    if (!view.style) return;
    const { cssWidth, cssHeight } = view.size;
    if (view.tools.chosen !== 'pan') view.pointer.finishBox([0, 0], [cssWidth, cssHeight]);
    else if (!view.pointer.click([cssWidth / 2, cssHeight / 2], Math.max(40, view.reach()))) {
      view.spoken.textContent = 'No point lies near the middle.';
    }
  }

  stop() {
    clearTimeout(this.speaking);
  }
}
