// ---------------------------------------------------------------- hovering: the ring and the card

const MOST_TEXTS = 400; // rows whose text is kept

// The point under the pointer (`row`, −1: none) and the card with its text, which the page is asked for once.
class Hover {
  constructor(view) {
    this.view = view;
    this.card = element('div', 'card', { role: 'status' });
    this.row = -1;
    this.resting = false;
    this.texts = new Map();
  }

  // The ring follows the pointer; the card waits until the pointer rests, and its text is asked for only then.
  on(row) {
    const { view } = this;
    if (row === this.row) return;
    this.row = row;
    this.resting = false;
    view.root.dataset.hovered = row;
    clearTimeout(this.asking);
    if (view.size && view.style) view.drawOverlay();
    this.show();
    if (row >= 0 && view.data.asksHover) this.asking = setTimeout(() => this.rest(row), HOVER_MS);
  }

  rest(row) {
    if (!this.view.alive) return;
    this.resting = true;
    if (this.texts.has(row)) this.show();
    else this.view.send.state('hovered', row);
  }

  // The text that the page has sent with its view, if any.
  learn({ hover }) {
    if (hover) this.texts.set(hover.row, hover.text);
  }

  forget() {
    this.texts.clear();
    this.learn(this.view.data);
  }

  show() {
    const { card, view } = this;
    const text = this.row >= 0 && this.resting ? this.texts.get(this.row) : undefined;
    card.classList.toggle('shown', Boolean(text));
    if (!text) return;
    if (card.textContent !== text) card.textContent = text;
    if (this.texts.size > MOST_TEXTS) this.texts.delete(this.texts.keys().next().value);
    const [left, top] = this.placeOf(view.toScreen(view.points.xy[2 * this.row], view.points.xy[2 * this.row + 1]));
    card.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
  }

  // Beside the point, not the pointer, so that it stands still; on the side with room, wholly inside the frame.
  placeOf([x, y]) {
    const { cssWidth, cssHeight } = this.view.size;
    const { offsetWidth: width, offsetHeight: height } = this.card;
    const besides = x + 16 + width <= cssWidth - 8 ? x + 16 : x - width - 16 >= 8 ? x - width - 16 : null;
    const left = besides ?? Math.min(Math.max(x - width / 2, 8), cssWidth - width - 8);
    const level = besides === null ? (y + 16 + height <= cssHeight - 8 ? y + 16 : y - height - 16) : y - height / 2;
    return [Math.max(8, left), Math.max(8, Math.min(level, cssHeight - height - 8))];
  }

  stop() {
    clearTimeout(this.asking);
  }
}
