// One video's page: the player, the view on the timeline, the pointer, the keyboard.

const data = JSON.parse(find("#data").textContent);
const duration = data.duration;
const offset = data.offset; // second of the player at which the first picture comes; all other seconds count from there
const edges = decode(data.edges, Float32Array);
const rows = data.rows.map((row) => ({ ...row, values: row.values === null ? null : decode(row.values, Float32Array) }));
const wave = data.wave === null ? null : decode(data.wave, Int8Array);
const still = window.matchMedia("(prefers-reduced-motion: reduce)");
const lanes = find(".lanes");
const playhead = find(".playhead");
const hover = find(".hover");
const video = find("video");
const view = { start: 0, end: duration };
const shortest = Math.min(duration, Math.max(2, 4 * (edges[1] - edges[0] || 0)));
let tone = colours();
let position = 0;
let playable = false;
let current = -1; // the interval that is on
let chosen = -1; // the one that was gone to last, as long as nothing else was; several may be on at once
let pointed = null;

// --- position ---------------------------------------------------------------------------------------------------

const box = () => {
  const [plot, frame] = [find(".row.anomaly .plot").getBoundingClientRect(), lanes.getBoundingClientRect()];
  return { left: plot.left - frame.left - lanes.clientLeft, width: plot.width, page: plot.left };
};
const xOf = (second, width) => ((second - view.start) / (view.end - view.start)) * width;

function say(text) {
  find("#said").textContent = text;
}

function told(interval) {
  return `${interval.shown}, ${clock(interval.start)} to ${clock(interval.end)}, score ${interval.score.toFixed(2)}`;
}

/** Go to a second, with the player where there is one; `aloud` for people who do not see the line move. */
function seek(second, aloud = "", number = -1) {
  position = clamp(second, 0, duration);
  chosen = number;
  if (playable) video.currentTime = position + offset;
  if (position < view.start || position > view.end) look(position - (view.end - view.start) * 0.1, view.end - view.start);
  moved();
  say(aloud || `${clock(position)} of ${clock(duration)}, anomaly score ${scoreAt(0, position)}`);
}

function scoreAt(row, second) {
  const { values } = rows[row];
  return values === null || !values.length ? "" : short(values[snippetAt(edges, second)]);
}

/** Show the position: line, clock, scores beside the lanes, the interval that is on. */
function moved() {
  const { left, width } = box();
  const x = xOf(position, width);
  playhead.hidden = x < -0.5 || x > width + 0.5;
  playhead.style.left = `${left + x}px`;
  playhead.setAttribute("aria-valuenow", position.toFixed(1));
  playhead.setAttribute("aria-valuetext", `${clock(position)}, anomaly score ${scoreAt(0, position)}`);
  find("#clock").textContent = clock(position);
  showScores(pointed === null ? position : pointed);
  const isOn = (item) => item.start <= position + 0.001 && position < item.end;
  const inside = chosen >= 0 && isOn(data.intervals[chosen]) ? chosen : data.intervals.findIndex(isOn);
  if (inside !== current) mark(inside);
}

function showScores(second) {
  rows.forEach((row, number) => {
    const output = find(`[data-row="${number}"] .value`);
    if (output !== null) output.textContent = scoreAt(number, second);
  });
}

function mark(number) {
  current = number;
  for (const part of all("[data-interval]")) {
    if (Number(part.dataset.interval) === number) part.setAttribute("aria-current", "true");
    else part.removeAttribute("aria-current");
  }
  const item = data.intervals[number];
  find("#where").textContent = item ? `In interval ${number + 1} of ${data.intervals.length}: ${item.shown}` : "";
  const line = find(`tr[data-interval="${number}"]`);
  const list = line && line.closest(".scroll");
  if (list) list.scrollTop = clamp(list.scrollTop, line.offsetTop + line.offsetHeight - list.clientHeight, line.offsetTop - line.parentElement.offsetTop);
  if (item && video && !video.paused) say(`interval ${number + 1}: ${item.shown}`);
}

function goTo(number) {
  const item = data.intervals[number];
  if (!item) return;
  seek(item.start, `interval ${number + 1} of ${data.intervals.length}: ${told(item)}`, number);
  const bar = find(`.bar[data-interval="${number}"]`);
  for (const other of all(".bar")) other.tabIndex = other === bar ? 0 : -1;
  if (document.activeElement && document.activeElement.classList.contains("bar")) bar.focus({ preventScroll: true });
}

/** Number of the next or previous interval, by start; from the start of the chosen one, its neighbour in the list. */
function neighbour(step) {
  const starts = data.intervals.map((item) => item.start);
  if (chosen >= 0 && Math.abs(starts[chosen] - position) < 0.05) return chosen + step;
  if (step > 0) return starts.findIndex((start) => start > position + 0.05 || (position === 0 && chosen < 0));
  return starts.findLastIndex((start) => start < position - (playable && !video.paused ? 1 : 0.05));
}

// --- view -------------------------------------------------------------------------------------------------------

/** Show `length` seconds from `start`, as far as the video reaches. */
function look(start, length) {
  const size = clamp(length, shortest, duration);
  view.start = clamp(start, 0, duration - size);
  view.end = view.start + size;
  draw();
}

function zoom(factor, around = position) {
  const inside = around >= view.start && around <= view.end ? around : (view.start + view.end) / 2;
  const share = (inside - view.start) / (view.end - view.start);
  const length = clamp((view.end - view.start) * factor, shortest, duration);
  look(inside - share * length, length);
  say(`${clock(view.start)} to ${clock(view.end)} shown`);
}

function draw() {
  const { width } = box();
  rows.forEach((row, number) => {
    const canvas = find(`[data-row="${number}"] canvas`);
    if (canvas !== null && canvas.clientWidth) drawCurve(canvas, row, edges, view, tone, number ? [] : data.intervals);
  });
  if (wave !== null) drawWave(find(".row.sound canvas"), wave, duration, view, tone);
  drawAxis(find(".row.axis canvas"), view, tone);
  drawCurve(find(".row.whole canvas"), { ...rows[0], threshold: null }, edges, { start: 0, end: duration }, tone);
  const frame = find(".window");
  frame.style.left = `${(view.start / duration) * 100}%`;
  frame.style.width = `${((view.end - view.start) / duration) * 100}%`;
  for (const part of all("[data-from]")) placeSpan(part, width);
  placePictures(width);
  find("#all").disabled = view.end - view.start >= duration;
  find("#in").disabled = view.end - view.start <= shortest;
  find("#out").disabled = find("#all").disabled;
  moved();
}

function placeSpan(part, width) {
  const [from, to] = [xOf(Number(part.dataset.from), width), xOf(Number(part.dataset.to), width)];
  part.hidden = to < 0 || from > width;
  part.style.left = `${clamp(from, -20, width)}px`;
  part.style.width = `${clamp(to, 0, width + 20) - clamp(from, -20, width)}px`;
}

/** Pictures of the highest peaks first; those that would lie upon one another wait until one zooms in. */
function placePictures(width) {
  const taken = [];
  for (const thumb of all(".thumb")) {
    const size = thumb.offsetWidth || Number(thumb.dataset.width || 0);
    if (size) thumb.dataset.width = size;
    const x = xOf(Number(thumb.dataset.at), width);
    const left = clamp(x - size / 2, 2, Math.max(width - size - 2, 2));
    const free = taken.every(([from, to]) => left + size + 4 < from || left > to + 4);
    thumb.hidden = x < 0 || x > width || !free;
    thumb.pin.hidden = thumb.hidden;
    if (thumb.hidden) continue;
    taken.push([left, left + size]);
    thumb.style.left = `${left}px`;
    thumb.pin.style.left = `${clamp(x, 0, width - 1)}px`;
  }
}

// --- what is put on the lanes ------------------------------------------------------------------------------------

function putBars() {
  data.intervals.forEach((item, number) => {
    const bar = document.createElement("button");
    bar.className = "bar";
    bar.type = "button";
    bar.tabIndex = number ? -1 : 0;
    bar.style.setProperty("--tone", `var(--${rows[item.row].tone})`);
    bar.title = told(item);
    bar.setAttribute("aria-label", `Interval ${number + 1}: ${told(item)}`);
    Object.assign(bar.dataset, { interval: number, from: item.start, to: item.end });
    bar.addEventListener("click", () => goTo(number));
    find(`[data-row="${item.row}"] .plot`).append(bar);
  });
  for (const item of data.truth) {
    const span = document.createElement("div");
    span.className = "true";
    Object.assign(span.dataset, { from: item.start, to: item.end });
    find(`[data-row="${item.row}"] .plot`).append(span);
  }
}

function putPictures() {
  for (const item of data.pictures) {
    const thumb = document.createElement("button");
    thumb.className = "thumb";
    thumb.type = "button";
    thumb.tabIndex = -1; // the table has the same picture and button, in the order of time
    thumb.title = `${clock(item.at)}, anomaly score ${short(item.score)}`;
    thumb.setAttribute("aria-label", `Peak at ${thumb.title}`);
    thumb.dataset.at = item.at;
    if (item.interval !== null) thumb.dataset.interval = item.interval;
    const picture = document.createElement("img");
    picture.alt = "";
    picture.src = item.picture;
    picture.addEventListener("load", draw);
    thumb.append(picture);
    thumb.pin = document.createElement("div");
    thumb.pin.className = "pin";
    thumb.addEventListener("click", () => seek(item.at));
    find(".row.peaks .plot").append(thumb, thumb.pin);
    for (const cell of all(`img[data-picture="${item.interval}"]`)) cell.src = item.picture;
  }
}
