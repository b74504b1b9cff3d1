// What keeps a page from being used by everyone, as a list of sentences; an empty list is what a page should give.
//
// Looked at: the page's language and title, the names of controls, pictures and canvases, the order of headings, the
// contrast of text (4.5, large text and icons 3), what goes beyond the window, and buttons squeezed into odd shapes. Components
// are looked into (shadow roots). Not looked at: the inside of Streamlit's data tables and of code blocks, which are
// its own, and what is disabled or not shown.
() => {
  const told = new Set();
  const parent = (e) => e.assignedSlot ?? e.parentElement ?? e.getRootNode().host ?? null;
  const within = (e, test) => { for (let n = e; n; n = parent(n)) if (test(n)) return true; return false; };
  const all = [];
  const gather = (root) => { for (const e of root.querySelectorAll('*')) { all.push(e); if (e.shadowRoot) gather(e.shadowRoot); } };
  gather(document);
  const foreign = (e) => within(e, (n) => n.matches?.('[data-testid="stDataFrame"], [data-testid="stCode"]'));
  const shown = all.filter((e) => e.getClientRects().length && e.checkVisibility({ opacityProperty: true, visibilityProperty: true }) && !foreign(e));
  const say = (what, e) => told.add(`${what}: <${e.tagName.toLowerCase()}> ${(e.textContent || e.outerHTML).trim().slice(0, 80)}`);

  const byId = (e, id) => e.getRootNode().getElementById?.(id) ?? document.getElementById(id);
  const name = (e) => {
    const from = (e.getAttribute('aria-labelledby') ?? '').split(' ').filter(Boolean).map((id) => byId(e, id)?.textContent ?? '');
    const labels = [...(e.labels ?? [])].map((label) => label.textContent);
    const inner = [...e.querySelectorAll('img[alt], svg[aria-label]')].map((i) => i.getAttribute('alt') ?? i.getAttribute('aria-label'));
    const own = ['INPUT', 'TEXTAREA', 'SELECT'].includes(e.tagName) ? '' : e.textContent;
    return [...from, e.getAttribute('aria-label'), e.getAttribute('alt'), ...labels, own, ...inner, e.getAttribute('title')].join('').trim();
  };
  const ROLES = ['button', 'link', 'checkbox', 'radio', 'combobox', 'slider', 'spinbutton', 'tab', 'textbox', 'switch', 'img', 'application'];
  const TAGS = ['BUTTON', 'SELECT', 'TEXTAREA', 'SUMMARY', 'INPUT', 'IMG', 'CANVAS'];
  for (const e of shown) {
    if (within(e, (n) => n.getAttribute?.('aria-hidden') === 'true')) continue;
    const asked = TAGS.includes(e.tagName) || (e.tagName === 'A' && e.href) || ROLES.includes(e.getAttribute('role'));
    const covered = e.tagName === 'CANVAS' && within(parent(e), (n) => n.getAttribute?.('role') && name(n));
    if (asked && !covered && e.getAttribute('alt') !== '' && !name(e)) say('without a name', e);
    if (e.tabIndex > 0) say('taken out of the order of tabs', e);
  }

  if (!document.documentElement.lang) told.add('the page has no language');
  if (!document.title.endsWith('Touchstone')) told.add(`the page is called ${document.title}`);
  let level = 0;
  for (const e of shown.filter((e) => /^H[1-6]$/.test(e.tagName))) {
    if (+e.tagName[1] > level + 1) say(`a heading of level ${e.tagName[1]} after one of ${level}`, e);
    level = +e.tagName[1];
  }

  const parts = (colour) => {
    const numbers = (colour.match(/[\d.]+(?:e-?\d+)?/g) ?? []).map(Number);
    const scale = colour.startsWith('color(') ? 255 : 1;
    return colour === 'none' || numbers.length < 3 ? null : [...numbers.slice(0, 3).map((c) => c * scale), numbers[3] ?? 1];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const light = (colour) => {
    const [r, g, b] = colour.map((c) => (c / 255 <= 0.03928 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (e) => {
    const layers = [];
    within(e, (n) => { const c = parts(getComputedStyle(n).backgroundColor); if (c?.[3]) layers.push(c); return c?.[3] === 1; });
    return layers.reduceRight((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  for (const e of shown) {
    const speaks = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!speaks || within(e, (n) => n.disabled || n.getAttribute?.('aria-disabled') === 'true')) continue;
    const block = e.closest('[data-testid="stWidgetLabel"]')?.closest('[data-testid="stElementContainer"]');
    if (block?.querySelector(':disabled, [aria-disabled="true"]')) continue;
    const style = getComputedStyle(e), svg = e.namespaceURI.endsWith('svg');
    const colour = parts(svg ? style.fill : style.color);
    if (!colour) continue;
    let share = colour[3] * (svg ? +style.fillOpacity : 1);
    within(e, (n) => { share *= +getComputedStyle(n).opacity; return false; });
    const behind = ground(e), [a, b] = [light(over([...colour.slice(0, 3), share], behind)), light(behind)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const size = parseFloat(style.fontSize), icon = e.dataset.testid === 'stIconMaterial';
    const large = icon || size >= 24 || (size >= 18.6 && +style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) say(`contrast ${ratio.toFixed(2)}`, e);
  }

  for (const e of [document.documentElement, document.querySelector('[data-testid="stMain"]')]) {
    if (e && e.scrollWidth > e.clientWidth + 1) told.add(`scrolls sideways: ${e.scrollWidth} in ${e.clientWidth} pixels`);
  }
  const edge = document.querySelector('[data-testid="stMain"]').getBoundingClientRect().right;
  for (const e of shown) {
    const box = e.getBoundingClientRect();
    if (!within(e, (n) => n.dataset?.testid === 'stMain')) continue;
    const clipped = () => within(parent(e), (n) => n.dataset?.testid !== 'stMain' && n !== document.body && getComputedStyle(n).overflowX !== 'visible' && !n.matches?.('.stApp, .stApp *:has([data-testid="stMain"])'));
    if (box.width > 0 && box.right > edge + 1 && !clipped()) say(`${Math.round(box.right - edge)} pixels beyond the window`, e);
    if (e.tagName === 'BUTTON' && e.textContent.trim() && box.height > 64 && box.width < 160) say('a button in an odd shape', e);
  }
  return [...told];
}
