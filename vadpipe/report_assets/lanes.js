// Drawing: time on the x axis of every lane, one canvas a lane, the lowest and highest score of every pixel column.

const find = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/** Numbers that were stored as base64 of little-endian bytes. */
function decode(text, Kind) {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i += 1) bytes[i] = raw.charCodeAt(i);
  return new Kind(bytes.buffer);
}

/** 83.25 -> "1:23.3"; with hours where there are any. */
function clock(second, digits = 1) {
  const unit = 10 ** digits;
  const whole = Math.round(second * unit);
  const [hours, minutes, rest] = [Math.floor(whole / unit / 3600), Math.floor(whole / unit / 60) % 60, (whole % (60 * unit)) / unit];
  const seconds = rest.toFixed(digits).padStart(digits ? 3 + digits : 2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${seconds}` : `${minutes}:${seconds}`;
}

/** A score with three digits, of which none below 1 becomes 1. */
function short(score) {
  return score < 1 ? Math.min(score, 0.999).toFixed(3) : score.toFixed(3);
}

/** Index of the snippet that is shown at a second; edges holds every start, then the end. */
function snippetAt(edges, second) {
  let [low, high] = [0, edges.length - 2];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (edges[middle] <= second) low = middle;
    else high = middle - 1;
  }
  return Math.max(low, 0);
}

/** Lowest and highest value in each of `columns` equal parts of the view. No peak is lost, however long the video. */
function columnsOf(values, edges, view, columns) {
  const low = new Float32Array(columns).fill(Infinity);
  const high = new Float32Array(columns).fill(-Infinity);
  const scale = columns / (view.end - view.start);
  const last = Math.min(snippetAt(edges, view.end), values.length - 1);
  for (let i = snippetAt(edges, view.start); i <= last; i += 1) {
    const first = clamp(Math.floor((edges[i] - view.start) * scale), 0, columns - 1);
    const end = clamp(Math.ceil((edges[i + 1] - view.start) * scale) - 1, first, columns - 1);
    for (let p = first; p <= end; p += 1) {
      if (values[i] < low[p]) low[p] = values[i];
      if (values[i] > high[p]) high[p] = values[i];
    }
  }
  return { low, high };
}

/** Steps between ticks that people can read, for at most `most` ticks. */
function tickStep(length, most) {
  const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400];
  return steps.find((step) => length / step <= most) || 86400 * Math.ceil(length / most / 86400);
}

function ticksOf(view, width) {
  const step = tickStep(view.end - view.start, Math.max(width / 90, 2));
  const ticks = [];
  for (let k = Math.ceil(view.start / step - 1e-9); k * step <= view.end + 1e-9; k += 1) ticks.push(k * step);
  return { ticks, digits: step < 1 ? 1 : 0 };
}

/** The colours of the theme in force; a canvas does not know variables. */
function colours() {
  const probe = document.createElement("span");
  probe.hidden = true;
  document.body.append(probe);
  const told = {};
  for (const name of ["ink", "soft", "grid", "alarm", "wave", "focus", "c0", "c1", "c2", "c3", "c4", "c5"]) {
    probe.style.color = `var(--${name})`;
    told[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  return told;
}

/** A canvas made as fine as the screen, cleared; widths are in the screen's own pixels. */
function fresh(canvas) {
  const density = window.devicePixelRatio || 1;
  const [width, height] = [Math.max(1, Math.round(canvas.clientWidth * density)), Math.max(1, Math.round(canvas.clientHeight * density))];
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, width, height);
  return { pen, width, height, density };
}

function drawGrid({ pen, width, height, density }, view, tone) {
  const { ticks } = ticksOf(view, width / density);
  pen.fillStyle = tone.grid;
  for (const tick of ticks) {
    pen.fillRect(Math.round(((tick - view.start) / (view.end - view.start)) * width), 0, density, height);
  }
}

/** A curve of scores 0 … 1: the line is the highest score of each column, the band below it reaches to the lowest. */
function drawCurve(canvas, row, edges, view, tone, spans = []) {
  const area = fresh(canvas);
  const { pen, width, height, density } = area;
  drawGrid(area, view, tone);
  const [top, bottom] = [4 * density, height - 3 * density];
  const level = (value) => bottom - clamp(value, 0, 1) * (bottom - top);
  const place = (second) => ((second - view.start) / (view.end - view.start)) * width;
  pen.fillStyle = tone[row.tone];
  pen.globalAlpha = 0.08;
  pen.beginPath(); // filled at once, so that spans which overlap are no darker
  for (const span of spans) pen.rect(place(span.start), 0, Math.max(place(span.end) - place(span.start), density), height);
  pen.fill();
  const { low, high } = columnsOf(row.values, edges, view, width);
  for (const [alpha, floor] of [[0.1, null], [0.3, low]]) {
    pen.globalAlpha = alpha;
    for (let p = 0; p < width; p += 1) {
      const base = floor === null ? bottom : level(floor[p]);
      if (high[p] >= low[p]) pen.fillRect(p, level(high[p]), 1, base - level(high[p]));
    }
  }
  pen.globalAlpha = 1;
  pen.strokeStyle = tone[row.tone];
  pen.lineWidth = 1.3 * density;
  pen.lineJoin = "round";
  pen.beginPath();
  for (let p = 0; p < width; p += 1) if (high[p] >= low[p]) pen.lineTo(p + 0.5, level(high[p]));
  pen.stroke();
  if (row.threshold !== null && row.threshold !== undefined) {
    pen.strokeStyle = tone.alarm;
    pen.lineWidth = 1.2 * density;
    pen.setLineDash([6 * density, 4 * density]);
    pen.beginPath();
    pen.moveTo(0, level(row.threshold));
    pen.lineTo(width, level(row.threshold));
    pen.stroke();
    pen.setLineDash([]);
  }
}

/** Sound: a bar from the lowest to the highest sample of every column. Buckets are evenly spaced over the video. */
function drawWave(canvas, wave, duration, view, tone) {
  const area = fresh(canvas);
  const { pen, width, height, density } = area;
  drawGrid(area, view, tone);
  const buckets = wave.length / 2;
  const edge = (p) => ((view.start + (p / width) * (view.end - view.start)) / duration) * buckets;
  pen.fillStyle = tone.wave;
  for (let p = 0; p < width; p += 1) {
    let [low, high] = [127, -127];
    const last = Math.min(Math.max(Math.ceil(edge(p + 1)), Math.floor(edge(p)) + 1), buckets);
    for (let b = Math.floor(edge(p)); b < last; b += 1) {
      low = Math.min(low, wave[2 * b]);
      high = Math.max(high, wave[2 * b + 1]);
    }
    if (high < low) continue;
    const y = (value) => (height / 2) * (1 - (0.94 * value) / 127);
    pen.fillRect(p, y(high), 1, Math.max(y(low) - y(high), density));
  }
}

function drawAxis(canvas, view, tone) {
  const { pen, width, height, density } = fresh(canvas);
  const { ticks, digits } = ticksOf(view, width / density);
  pen.font = `${12 * density}px ${getComputedStyle(document.body).fontFamily}`;
  pen.textBaseline = "middle";
  for (const tick of ticks) {
    const [x, said] = [((tick - view.start) / (view.end - view.start)) * width, clock(tick, digits)];
    const half = pen.measureText(said).width / 2;
    pen.fillStyle = tone.soft;
    pen.fillRect(Math.round(x), 0, density, 5 * density);
    pen.fillText(said, clamp(x - half, 2 * density, Math.max(width - 2 * half - 2 * density, 0)), height / 2 + 3 * density);
  }
}
