// The reviewer's desk: keys, note, tags and the text of the sample in view. Mounted by review_keys.py, which documents
// the messages. No key press is lost: each becomes a numbered event that names the sample in view, all events not yet
// acknowledged travel together, and the next sample is shown at once from those sent ahead, without asking the server.
// A second message, "side", stands for what the page draws beside the sample: it is asked to draw anew once the reviewer
// rests on a sample, so that quick keys cost little. All text goes through textContent.

const CODES = { approve: 'approved', reject: 'rejected', skip: 'skipped', none: 'undecided' };
const DECISIONS = { a: 'approve', x: 'reject', s: 'skip' };
const ICONS = { approve: '✓', reject: '✕', skip: '→', none: '○' };
const STORE = 'touchstone-review'; // in the tab's own storage
const RETRY_MS = 3000; // what is not acknowledged by then is sent again
const SLOW_MS = 1500; // from then on it is said that decisions are on their way
const OWN_ARROWS = '[role=radio],[role=slider],[role=tab],[role=listbox],[role=combobox],[role=grid],canvas,select';

const REST_MS = 250; // a sample in view for so long is rested on
const page = { desk: null, sides: new Map() }; // the messages meet here

export default function reviewKeys(component) {
  const { data, parentElement, setStateValue } = component;
  const generation = (parentElement.touchstoneGeneration ?? 0) + 1;
  parentElement.touchstoneGeneration = generation;
  const latest = () => parentElement.touchstoneGeneration === generation; // else a newer call has taken over
  if (data.side) return besides(component, latest);
  parentElement.touchstoneDesk ??= new Desk(parentElement);
  const desk = parentElement.touchstoneDesk;
  desk.send = (value) => setStateValue('keys', value);
  page.desk = desk;
  desk.update(data);
  return () => {
    if (!latest()) return;
    desk.destroy();
    parentElement.touchstoneDesk = null;
    if (page.desk === desk) page.desk = null;
  };
}

function besides(component, latest) {
  const { data, parentElement, setStateValue } = component;
  const container = parentElement.host?.closest('[data-testid="stElementContainer"]');
  if (container) container.style.display = 'none';
  const side = {
    drawn: data.side,
    send: (value) => setStateValue('rested', value),
    fade(behind) {
      for (let next = container?.nextElementSibling; next; next = next.nextElementSibling) next.style.opacity = behind ? '0.3' : '';
    },
  };
  page.sides.set(data.name, side);
  page.desk?.rest();
  return () => {
    if (latest() && page.sides.get(data.name) === side) page.sides.delete(data.name);
  };
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// An order or a run just chosen keeps the keyboard in its field; the keys are the desk's again once the new list is here.
function leaveChoice() {
  const field = document.activeElement;
  if (field?.getAttribute('role') === 'combobox' && !field.closest('[role=dialog], [data-testid="stPopoverBody"]')) field.blur();
}

// A list's token ends with its project: rows of another project have nothing to do with what was begun on these.
function projectOf(token) {
  return token?.split('.').at(-1);
}

class Desk {
  constructor(parent) {
    this.client = Math.random().toString(36).slice(2) + Date.now().toString(36);
    this.seq = 0;
    this.tries = 0;
    this.acknowledged = 0;
    this.underway = false; // whether a message waits for its answer
    this.pending = []; // events not yet acknowledged, oldest first
    this.trail = []; // where this desk decided, for undo
    this.samples = new Map(); // place in the list → sample
    this.codes = new Map(); // row → decision made here and not yet acknowledged
    this.tags = new Map(); // row → tags changed here and not yet acknowledged
    this.notes = new Map(); // row → a note begun
    this.list = null;
    this.at = 0;
    this.n = 0;
    this.recall();
    this.build(parent);
    this.onKey = (event) => this.key(event);
    this.onLeave = (event) => {
      if (this.pending.length) event.preventDefault();
    };
    this.onPoint = () => this.flush();
    this.onClick = (event) => this.hold(event);
    document.addEventListener('click', this.onClick, true);
    document.addEventListener('keydown', this.onKey);
    document.addEventListener('pointerdown', this.onPoint, true);
    document.addEventListener('visibilitychange', this.onPoint);
    window.addEventListener('beforeunload', this.onLeave);
  }

  destroy() {
    document.removeEventListener('keydown', this.onKey);
    document.removeEventListener('pointerdown', this.onPoint, true);
    document.removeEventListener('click', this.onClick, true);
    document.removeEventListener('visibilitychange', this.onPoint);
    window.removeEventListener('beforeunload', this.onLeave);
    clearTimeout(this.retry);
    clearTimeout(this.slow);
    clearTimeout(this.resting);
    this.root.remove();
  }

  // -------------------------------------------------------------- what is drawn

  build(parent) {
    this.root = element('section', 'desk');
    this.root.setAttribute('aria-label', 'Sample under review');
    const bar = element('div', 'bar');
    const buttons = element('div', 'buttons');
    for (const [act, label, key] of [['approve', 'Approve', 'A'], ['reject', 'Reject', 'X'], ['skip', 'Skip', 'S']]) {
      buttons.append(this.button(`${ICONS[act]} ${label}`, key, act, () => this.decide(act)));
    }
    buttons.append(this.button('↶ Undo', 'U', 'undo', () => this.undo()));
    this.previous = this.button('‹ Previous', '←', 'previous', () => this.go(this.at - 1));
    this.next = this.button('Next ›', '→', 'next', () => this.go(this.at + 1));
    buttons.append(this.previous, this.next);
    this.note = this.field('Note', 'N', 'Note, kept with the decision', 500);
    this.note.addEventListener('input', () => this.notes.set(this.sample()?.row, this.note.value));
    this.tag = this.field('Tag', 'T', 'Add a tag', 60);
    this.known = element('datalist');
    this.known.id = 'known-tags';
    this.tag.setAttribute('list', 'known-tags');
    const fields = element('div', 'fields');
    fields.append(this.note.parentElement, this.tag.parentElement, this.known);
    this.said = element('div', 'said');
    this.said.setAttribute('role', 'status');
    bar.append(buttons, fields, this.said);
    this.lines = element('div', 'lines');
    this.head = element('div', 'head');
    this.body = element('div', 'body');
    this.root.append(bar, this.lines, this.head, this.body);
    parent.append(this.root);
  }

  button(label, key, act, action) {
    const made = element('button', `act ${act}`, label);
    made.type = 'button';
    made.append(element('kbd', '', key));
    made.setAttribute('aria-label', label.replace(/[^A-Za-z ]/g, '').trim());
    made.setAttribute('aria-keyshortcuts', { '←': 'ArrowLeft', '→': 'ArrowRight' }[key] ?? key);
    made.addEventListener('click', action);
    return made;
  }

  field(label, key, placeholder, longest) {
    const around = element('label', 'field');
    const input = element('input');
    input.type = 'text';
    input.maxLength = longest;
    input.placeholder = placeholder;
    input.setAttribute('aria-label', label);
    input.addEventListener('keydown', (event) => this.typed(event, label));
    around.append(input, element('kbd', '', key));
    return input;
  }

  sample() {
    return this.samples.get(this.at);
  }

  // How many samples are here without a gap from the one in view on: as many keys need no answer of the server.
  ready() {
    let end = this.at;
    while (this.samples.has(end)) end += 1;
    return end - this.at;
  }

  draw() {
    const shown = this.sample();
    const drawn = shown ? `${this.list} ${shown.at} ${shown.row} ${shown.whole}` : `${this.list} ${this.at >= this.n}`;
    if (drawn !== this.drawn) this.drawBody(shown);
    this.drawn = drawn;
    this.drawHead(shown);
    this.previous.disabled = this.at <= 0;
    this.next.disabled = this.at >= this.n;
    for (const act of Object.values(DECISIONS)) this.root.querySelector(`.act.${act}`).disabled = !shown;
    this.note.disabled = this.tag.disabled = !shown;
    this.root.setAttribute('aria-busy', !shown && this.at < this.n);
    this.root.dataset.ready = this.ready(); // for whoever measures or tests the desk
    const note = this.notes.get(shown?.row) ?? '';
    if (this.note.value !== note) this.note.value = note;
    this.fade();
  }

  drawHead(shown) {
    const plural = this.n === 1 ? 'sample' : 'samples';
    const place = Math.min(this.at + 1, this.n).toLocaleString('en');
    const where = this.at < this.n ? `${place} of ${this.n.toLocaleString('en')} ${plural}` : '';
    const parts = [element('strong', 'place', where)];
    if (shown) {
      const code = this.codes.get(shown.row) ?? shown.code;
      parts.push(element('span', `badge ${code}`, `${ICONS[code]} ${CODES[code]}`));
      for (const tag of this.tags.get(shown.row) ?? shown.tags) parts.push(this.chip(tag[0], tag[1]));
      parts.push(element('span', 'source', shown.source));
    }
    this.head.replaceChildren(...parts);
  }

  chip(tag, spelt) {
    const chip = element('span', 'tag');
    const off = element('button', '', '×');
    off.type = 'button';
    off.setAttribute('aria-label', `Remove the tag ${spelt}`);
    off.addEventListener('click', () => this.retag(tag, 'untag'));
    chip.append(element('bdi', '', spelt), off);
    return chip;
  }

  drawBody(shown) {
    const parts = [];
    if (shown) {
      for (const [label, text, found] of shown.turns) {
        const turn = element('article', 'turn');
        const body = element('div', text ? 'text' : 'text none', found ? '' : text || '(empty)');
        (found ?? []).forEach((part, at) => body.append(at % 2 ? element('mark', '', part) : part));
        turn.append(element('h2', '', label), body);
        parts.push(turn);
      }
      if (shown.fields.length) parts.push(this.fieldsOf(shown));
      if (!shown.whole) parts.push(element('p', 'more', 'The rest of it is on its way …'));
    } else if (this.n === 0) {
      parts.push(element('p', 'end', 'No sample is in this list.'));
    } else if (this.at >= this.n) {
      const plural = this.n === 1 ? 'sample' : 'samples';
      parts.push(element('p', 'end', `That was the last of ${this.n.toLocaleString('en')} ${plural} in this list.`));
    } else {
      parts.push(element('p', 'end', 'The next sample is on its way …'));
    }
    this.body.replaceChildren(...parts);
    if (this.root.getBoundingClientRect().top < 0) this.root.scrollIntoView({ block: 'start' });
  }

  fieldsOf(shown) {
    const list = element('dl', 'own');
    list.setAttribute('aria-label', 'Fields of the row');
    for (const [name, value] of shown.fields) list.append(element('dt', '', name), element('dd', '', value));
    return list;
  }

  say(text, tone = '') {
    this.said.textContent = text;
    this.said.className = `said ${tone}`;
  }

  // -------------------------------------------------------------- what the server says

  update(data) {
    const acknowledged = data.ack?.[this.client] ?? 0;
    if (acknowledged > this.acknowledged) this.underway = false;
    this.acknowledged = acknowledged;
    const waited = this.pending.length;
    this.pending = this.pending.filter((event) => event.seq > acknowledged);
    if (this.pending.length !== waited) this.remember();
    if (!this.pending.length && this.leaving) {
      this.leaving.click();
      this.leaving = null;
    }
    if (data.list !== this.list) {
      leaveChoice();
      this.samples.clear();
      this.trail = [];
      if (projectOf(data.list) !== projectOf(this.list)) for (const kept of [this.notes, this.codes, this.tags]) kept.clear();
      this.list = data.list;
      this.at = data.at;
    }
    this.n = data.n;
    for (const sample of data.samples) {
      const known = this.samples.get(sample.at);
      this.samples.set(sample.at, known?.whole && known.row === sample.row ? { ...sample, turns: known.turns, whole: true } : sample);
    }
    const open = new Set(this.pending.map((event) => event.row));
    for (const kept of [this.codes, this.tags]) for (const row of kept.keys()) if (!open.has(row)) kept.delete(row);
    if (!this.pending.length) this.at = data.at;
    this.known.replaceChildren(...data.suggestions.map((tag) => Object.assign(element('option'), { value: tag })));
    this.lines.replaceChildren(...data.lines.map((line) => element('div', '', line)));
    this.draw();
    this.rest();
    this.settle(data.trouble);
    if (data.said && data.saidAt !== this.saidAt) this.say(data.said);
    this.saidAt = data.saidAt;
  }

  // What stands beside and is still another sample's is faint, so that nobody reads its score as this one's.
  fade() {
    const wanted = `${this.list} ${this.at}`;
    for (const side of page.sides.values()) side.fade(side.drawn !== wanted);
  }

  // Once everything is acknowledged and the reviewer rests on a sample that the side does not show yet, it is asked for.
  rest() {
    clearTimeout(this.resting);
    this.fade();
    const wanted = `${this.list} ${this.at}`;
    const behind = [...page.sides.values()].filter((side) => side.drawn !== wanted);
    if (this.pending.length || !behind.length) return;
    this.resting = setTimeout(() => behind.forEach((side) => side.send(wanted)), REST_MS);
  }

  settle(trouble) {
    clearTimeout(this.retry);
    clearTimeout(this.slow);
    if (!this.pending.length) {
      if (this.said.classList.contains('slow')) this.say('Everything is saved.');
      return;
    }
    // A message in the middle of the server's work would make it begin anew: what is pressed meanwhile goes with the next.
    if (!this.underway) this.post();
    else this.retry = setTimeout(() => this.post(), RETRY_MS);
    const waiting = () => this.say(`${this.pending.length} not saved yet; they are sent again by themselves. ${trouble ?? ''}`, 'slow');
    if (trouble) waiting();
    else this.slow = setTimeout(waiting, SLOW_MS);
  }

  // -------------------------------------------------------------- what the reviewer does

  key(event) {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    const target = event.composedPath()[0];
    if (target instanceof Element) {
      if (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)) return;
      if (target.closest('[role=dialog]')) return;
      if (event.key.startsWith('Arrow') && target.closest(OWN_ARROWS)) return;
    }
    if (event.key === 'Enter') this.flush(); // it may follow a link
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const action = {
      u: () => this.undo(),
      n: () => this.note.focus(),
      t: () => this.tag.focus(),
      ArrowLeft: () => this.go(this.at - 1),
      ArrowRight: () => this.go(this.at + 1),
    }[key] ?? (DECISIONS[key] && (() => this.decide(DECISIONS[key])));
    if (!action) return;
    event.preventDefault();
    if (event.repeat && !event.key.startsWith('Arrow')) return; // a key held down is one press
    action();
  }

  typed(event, label) {
    event.stopPropagation();
    if (event.isComposing || (event.key !== 'Enter' && event.key !== 'Escape')) return;
    event.preventDefault();
    const value = event.target.value.trim();
    if (label === 'Tag' && event.key === 'Enter' && value) {
      this.retag(value, 'tag');
      event.target.value = '';
      return; // several tags can be typed in a row; Enter once more leaves
    }
    if (label === 'Tag') event.target.value = '';
    event.target.blur();
  }

  decide(act) {
    const shown = this.sample();
    if (!shown) {
      const where = this.at < this.n ? 'The next sample is not here yet, so nothing was decided.' : 'This is the end of the list.';
      this.say(where, 'refused');
      return;
    }
    const before = this.codes.get(shown.row) ?? shown.code;
    const note = (this.notes.get(shown.row) ?? '').trim();
    this.notes.delete(shown.row);
    this.trail.push({ at: this.at, row: shown.row, before });
    this.codes.set(shown.row, act);
    this.push({ act, at: shown.at, row: shown.row, seen: before, note });
    this.at = Math.min(this.at + 1, this.n);
    this.draw();
    this.say(`${CODES[act]}: ${shown.id}`, act);
  }

  undo() {
    const last = this.trail.pop();
    this.push({ act: 'undo', at: last?.at ?? -1, row: last?.row ?? -1 });
    if (last) {
      this.at = last.at;
      this.codes.set(last.row, last.before);
      this.say('Taken back.');
    }
    this.draw();
  }

  go(to) {
    if (to < 0 || to > this.n || to === this.at) return;
    this.push({ act: 'go', at: to, row: this.samples.get(to)?.row ?? -1 });
    this.at = to;
    this.draw();
  }

  retag(tag, act) {
    const shown = this.sample();
    if (!shown) return;
    const now = (this.tags.get(shown.row) ?? shown.tags).filter((known) => known[0] !== tag);
    this.tags.set(shown.row, act === 'tag' ? [...now, [tag, tag]] : now);
    this.push({ act, at: shown.at, row: shown.row, tag });
    this.draw();
  }

  push(event) {
    this.pending.push({ seq: ++this.seq, list: this.list, ...event });
    this.remember();
    this.settle();
  }

  // A change of page makes Streamlit drop what is on its way: a link is followed once everything is acknowledged.
  hold(event) {
    const link = event.composedPath().find((node) => node instanceof Element && node.matches('a[href]'));
    if (!link || !this.pending.length || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    this.leaving = link;
    this.say('Saving before leaving …', 'slow');
    this.flush();
  }

  // What is not acknowledged outlives a reload or the browser's back button: the next desk of this tab sends it.
  remember() {
    try {
      if (!this.pending.length) sessionStorage.removeItem(STORE);
      else sessionStorage.setItem(STORE, JSON.stringify({ client: this.client, seq: this.seq, pending: this.pending }));
    } catch {
      // no storage here: then only a desk that stays keeps them
    }
  }

  recall() {
    try {
      const kept = JSON.parse(sessionStorage.getItem(STORE) ?? 'null');
      if (kept?.pending?.length) Object.assign(this, kept);
    } catch {
      // unreadable: nothing is recalled
    }
  }

  // Whoever points at something else, or leaves, may be gone before the answer: what waits is sent at once.
  flush() {
    if (this.pending.length) this.post();
  }

  post() {
    clearTimeout(this.resting);
    clearTimeout(this.retry);
    this.tries += 1;
    this.underway = true;
    this.send({ client: this.client, tries: this.tries, events: this.pending });
    this.retry = setTimeout(() => this.post(), RETRY_MS);
  }
}
