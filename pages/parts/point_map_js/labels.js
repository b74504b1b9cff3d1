// ---------------------------------------------------------------- labels

const LABEL_WIDTH = 200; // CSS px, and at most 45 % of a narrow map
const LABEL_GAP = [7, 4]; // CSS px kept free around a label

function makeLabels(view) {
  const width = Math.round(Math.min(LABEL_WIDTH, 0.45 * (view.size?.cssWidth ?? 1000)));
  const wanted = JSON.stringify([view.data.labels, width]);
  if (wanted === view.labelsMade) return;
  view.labelsMade = wanted;
  view.labelLayer.replaceChildren();
  view.labels = view.data.labels.map(([x, y, text]) => {
    const node = element('div', 'label');
    node.style.maxWidth = `${width}px`;
    node.textContent = text;
    view.labelLayer.appendChild(node);
    return { x, y, text, node };
  });
  for (const label of view.labels) {
    shortened(label);
    label.width = label.node.offsetWidth;
    label.height = label.node.offsetHeight;
  }
}

// A name too long loses words from its end, as many as it must; a single long word is cut by the style sheet.
function shortened({ text, node }) {
  if (node.scrollWidth <= node.clientWidth) return;
  const words = text.split(/(?<=[\s,;/])/);
  let most = words.length;
  for (let low = 1; low < most;) {
    const middle = (low + most) >> 1;
    node.textContent = `${words.slice(0, middle).join('').replace(/[\s,;/]+$/, '')}…`;
    if (node.scrollWidth <= node.clientWidth) low = middle + 1;
    else most = middle;
  }
  node.textContent = most > 1 ? `${words.slice(0, most - 1).join('').replace(/[\s,;/]+$/, '')}…` : text;
}

// Labels come most important first; one that would touch another, the tools or the notices waits for more room.
function placeLabels(view) {
  const { cssWidth, cssHeight } = view.size;
  const [gapX, gapY] = LABEL_GAP;
  const taken = [view.tools.bar, view.status, view.notice].filter((node) => node.offsetWidth).map((node) =>
    [node.offsetLeft - 4, node.offsetTop - 4, node.offsetLeft + node.offsetWidth + 4, node.offsetTop + node.offsetHeight + 4]);
  for (const label of view.labels ?? []) {
    const [x, y] = view.toScreen(label.x, label.y);
    const inside = x > 0 && x < cssWidth && y > 0 && y < cssHeight;
    const left = Math.min(Math.max(x - label.width / 2, 4), cssWidth - label.width - 4);
    const top = Math.min(Math.max(y - label.height / 2, 4), cssHeight - label.height - 4);
    const box = [left - gapX, top - gapY, left + label.width + gapX, top + label.height + gapY];
    const free = inside && view.labelsOn && !taken.some((other) =>
      box[0] < other[2] && box[2] > other[0] && box[1] < other[3] && box[3] > other[1]);
    if (free) taken.push(box);
    label.node.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
    label.node.classList.toggle('shown', free);
  }
}

