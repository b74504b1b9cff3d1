// A text in pieces, some of them marked. Mounted by word_pieces.py. All text goes through textContent.
const TAGS = { same: 'span', added: 'ins', removed: 'del', match: 'mark', 'left-out': 'span' };

export default function wordPieces(component) {
  const { data, parentElement } = component;
  const box = document.createElement('div');
  box.className = 'pieces';
  box.setAttribute('role', 'group');
  box.setAttribute('aria-label', data.label);
  box.tabIndex = 0;
  for (const [kind, text] of data.pieces) {
    const piece = document.createElement(TAGS[kind] ?? 'span');
    piece.className = kind;
    piece.textContent = text;
    box.append(piece);
  }
  parentElement.touchstonePieces?.remove();
  parentElement.append(box);
  parentElement.touchstonePieces = box;
}
