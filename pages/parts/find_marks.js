// A text with the words that a search found marked. Mounted by find_marks.py; text stays text: no markup is read.

export default function markedText({ data, parentElement }) {
  const text = document.createElement('div');
  text.className = 'text';
  (data?.parts ?? []).forEach((part, at) => {
    if (at % 2 === 0) {
      text.append(part);
      return;
    }
    const mark = document.createElement('mark');
    mark.textContent = part;
    text.append(mark);
  });
  parentElement.querySelector('.text')?.remove();
  parentElement.append(text);
}
