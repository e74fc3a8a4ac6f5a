// Player, pointer, keyboard and theme of one video's page; begins the page.

// --- player -----------------------------------------------------------------------------------------------------

function withoutPicture(reason) {
  playable = false;
  const screen = find(".screen");
  screen.classList.add("without");
  const note = document.createElement("p");
  note.textContent = reason;
  screen.replaceChildren(note);
  find("#play").hidden = true;
}

/** The embedded file as an address of this page; made in pieces, so that no text of twice its size is needed. */
function embedded(block) {
  const text = block.textContent;
  const parts = [];
  const piece = 4 * 262144; // four characters are three bytes
  for (let i = 0; i < text.length; i += piece) parts.push(decode(text.slice(i, i + piece), Uint8Array));
  block.remove();
  return URL.createObjectURL(new Blob(parts, { type: data.kind }));
}

function followPlayer() {
  position = clamp(video.currentTime - offset, 0, duration);
  const length = view.end - view.start;
  if (!video.paused && (position > view.end || position < view.start)) look(position - length * 0.05, length);
  else moved();
}

function tick() {
  if (!video.isConnected || video.paused) return;
  followPlayer();
  requestAnimationFrame(tick);
}

function startPlayer() {
  const block = find("#embedded");
  video.addEventListener("error", () =>
    withoutPicture(
      `This browser cannot show the video (${(video.error && video.error.message) || "no reason given"}). ` +
        `It was expected at ${video.getAttribute("src")}. The timeline works without it.`,
    ),
  );
  video.addEventListener("loadedmetadata", () => {
    playable = true;
    if (position > 0) video.currentTime = position + offset;
  });
  for (const name of ["timeupdate", "seeked"]) video.addEventListener(name, followPlayer);
  video.addEventListener("play", () => {
    find("#play").textContent = "Pause";
    if (!still.matches) tick();
  });
  video.addEventListener("pause", () => {
    find("#play").textContent = "Play";
    say(`paused at ${clock(position)}`);
  });
  if (block !== null) video.src = embedded(block);
  else if (video.error) video.dispatchEvent(new Event("error"));
  else if (video.readyState > 0) playable = true;
}

function playOrPause() {
  if (!playable) return;
  if (video.paused) video.play().catch((problem) => say(problem.message));
  else video.pause();
}

// --- pointer ----------------------------------------------------------------------------------------------------

const held = new Map(); // pointers that are down: where they are, where they began
let gesture = null;

const secondAt = (x) => {
  const { page, width } = box();
  return clamp(view.start + ((x - page) / width) * (view.end - view.start), view.start, view.end);
};
const onPlot = (event) => event.target.closest(".plot") && !event.target.closest("button, .row.whole");

function press(event) {
  if (!onPlot(event) || event.button > 0) return;
  unpoint();
  held.set(event.pointerId, event.clientX);
  if (held.size === 1) gesture = { x: event.clientX, start: view.start, moved: false, touch: event.pointerType === "touch" };
  else gesture.pinch = { spread: spread(), length: view.end - view.start, around: secondAt(middle()) };
  lanes.setPointerCapture(event.pointerId);
}

const spread = () => Math.max(...held.values()) - Math.min(...held.values());
const middle = () => (Math.max(...held.values()) + Math.min(...held.values())) / 2;

function drag(event) {
  if (!held.has(event.pointerId)) return point(event);
  held.set(event.pointerId, event.clientX);
  const length = view.end - view.start;
  if (held.size > 1 && gesture.pinch) {
    const wanted = clamp((gesture.pinch.length * gesture.pinch.spread) / Math.max(spread(), 10), shortest, duration);
    gesture.moved = true;
    const { page, width } = box();
    return look(gesture.pinch.around - ((middle() - page) / width) * wanted, wanted);
  }
  if (Math.abs(event.clientX - gesture.x) > 5) gesture.moved = true;
  if (!gesture.moved) return undefined;
  if (length < duration) return look(gesture.start - ((event.clientX - gesture.x) / box().width) * length, length);
  return seek(secondAt(event.clientX)); // all is shown: there is nothing to shift, so the line is dragged
}

function release(event) {
  if (!held.delete(event.pointerId)) return;
  if (!held.size && !gesture.moved && event.type === "pointerup") seek(secondAt(event.clientX));
}

function unpoint() {
  pointed = null;
  hover.hidden = true;
  find("#pointed").textContent = "";
  showScores(position);
}

/** The line and the scores under the pointer. */
function point(event) {
  const over = event.pointerType === "mouse" && event.target.closest(".plot") && !event.target.closest(".row.whole");
  if (!over) return unpoint();
  pointed = secondAt(event.clientX);
  hover.hidden = false;
  const { left, width } = box();
  hover.style.left = `${left + xOf(pointed, width)}px`;
  find("#pointed").textContent = `Pointer at ${clock(pointed)}`;
  return showScores(pointed);
}

function wheel(event) {
  const length = view.end - view.start;
  if (event.ctrlKey || event.metaKey) {
    event.preventDefault();
    zoom(Math.exp(clamp(event.deltaY, -60, 60) / 120), secondAt(event.clientX));
  } else if ((event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) && length < duration) {
    event.preventDefault();
    look(view.start + ((event.deltaX || event.deltaY) / box().width) * length, length);
  }
}

function shiftWindow(event) {
  if (event.type === "pointermove" && !event.buttons) return;
  const plot = find(".row.whole .plot").getBoundingClientRect();
  const length = view.end - view.start;
  const second = ((event.clientX - plot.left) / plot.width) * duration;
  if (length < duration) look(second - length / 2, length);
  else if (event.type === "pointerdown") seek(second);
}

// --- keyboard ---------------------------------------------------------------------------------------------------

const keys = {
  ArrowLeft: (event) => seek(position - (event.shiftKey ? 1 : 5)),
  ArrowRight: (event) => seek(position + (event.shiftKey ? 1 : 5)),
  Home: () => seek(0),
  End: () => seek(duration),
  "[": () => goTo(neighbour(-1)),
  "]": () => goTo(neighbour(1)),
  "+": () => zoom(0.5),
  "=": () => zoom(0.5),
  "-": () => zoom(2),
  0: () => look(0, duration),
  " ": playOrPause,
};

function key(event) {
  const inVideo = event.target === video;
  if (event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey || !Object.hasOwn(keys, event.key)) return;
  if (event.key === " " && (inVideo || event.target.closest("button, a, summary"))) return; // their own key
  if (/^(Arrow|Home|End)/.test(event.key) && (inVideo || event.target.closest(".scroll"))) return;
  event.preventDefault();
  keys[event.key](event);
}

// --- beginning --------------------------------------------------------------------------------------------------

function wire() {
  find("#play").addEventListener("click", playOrPause);
  find("#before").addEventListener("click", () => goTo(neighbour(-1)));
  find("#after").addEventListener("click", () => goTo(neighbour(1)));
  find("#in").addEventListener("click", () => zoom(0.5));
  find("#out").addEventListener("click", () => zoom(2));
  find("#all").addEventListener("click", () => look(0, duration));
  for (const button of all("button[data-seek]")) {
    button.addEventListener("click", () => {
      if (button.dataset.number === undefined) seek(Number(button.dataset.seek));
      else goTo(Number(button.dataset.number));
    });
  }
  const more = find("#more");
  if (more !== null) {
    more.addEventListener("click", () => {
      const open = more.getAttribute("aria-expanded") !== "true";
      more.setAttribute("aria-expanded", String(open));
      for (const row of all(".row.quiet")) row.hidden = !open;
      draw();
    });
  }
  lanes.addEventListener("pointerdown", press);
  lanes.addEventListener("pointermove", drag);
  lanes.addEventListener("pointerup", release);
  lanes.addEventListener("pointercancel", release);
  lanes.addEventListener("pointerleave", point);
  lanes.addEventListener("wheel", wheel, { passive: false });
  for (const name of ["pointerdown", "pointermove"]) find(".row.whole .plot").addEventListener(name, shiftWindow);
  document.addEventListener("keydown", key);
  new ResizeObserver(draw).observe(lanes);
}

function repaint() {
  tone = colours();
  draw();
}

document.addEventListener("theme", repaint);
putBars();
putPictures();
wire();
if (video !== null) startPlayer();
draw();
