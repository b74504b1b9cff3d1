// ---------------------------------------------------------------- elements: HTML, SVG and text

function element(tag, className, attributes = {}) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function textElement(tag, className, text) {
  const made = element(tag, className);
  made.textContent = text;
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
