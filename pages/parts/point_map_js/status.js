// ---------------------------------------------------------------- status: what the map says of itself, seen and read aloud

function tellStatus(view, text) {
  if (view.status.textContent !== text) view.status.textContent = text;
}

const numberText = (value) => value.toLocaleString('en-GB');
const pointsText = (value) => `${numberText(value)} ${value === 1 ? 'point' : 'points'}`;

// After points or their style have changed: how many are shown, selected, left out, and without a place.
function tellCounts(view) {
  const [out, plain, chosen] = view.style.groups.map((group) => group.count);
  view.tools.buttons.focus.disabled = !chosen && !out;
  const total = view.points.valid;
  const parts = [out ? `${numberText(plain + chosen)} of ${pointsText(total)}` : pointsText(total)];
  if (chosen) parts.push(`${numberText(chosen)} selected`);
  if (view.points.n > total) parts.push(`${numberText(view.points.n - total)} without a place`);
  tellStatus(view, parts.join(' · '));
  view.notice.textContent = noticeOf(view, total);
  view.surface.setAttribute('aria-label',
    `Map of ${parts.join(', ')}. Arrow keys move, plus and minus zoom, 0 shows all, F what is selected. `
    + 'L lassoes, B boxes, then Enter takes what is in sight; otherwise Enter opens the point in the middle. Escape cancels.');
}

function noticeOf(view, total) {
  if (!view.sampled) return '';
  const sample = Math.min(total, SAMPLE_WITHOUT_GL);
  return sample < total
    ? `This browser offers no WebGL2: a sample of ${numberText(sample)} of ${numberText(total)} points is shown. A lasso still takes all of them.`
    : `This browser offers no WebGL2: all ${numberText(total)} points are painted without it, which is slower.`;
}

// After a move by keyboard: how many of the points that filters leave in are in sight, to those who cannot see it.
function tellInSight(view) {
  const { groups, coarse } = view.style;
  const inSight = [1, 2].reduce((sum, g) => sum + crowding(groups[g], coarse, view.visible()).count, 0);
  const shown = groups[1].count + groups[2].count;
  view.spoken.textContent = `About ${numberText(inSight)} of ${numberText(shown)} points are in sight.`;
}
