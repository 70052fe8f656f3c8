"use strict";
const $ = (id) => document.getElementById(id);
const WIDTH = 360; // of drawings, in their own units
let about = {}, clip = null, recorder = null, request = null;

// Elements with text; nothing is ever parsed as HTML.
function add(parent, tag, attributes = {}, text = "") {
  const drawn = ["svg", "g", "line", "rect", "circle", "text", "polyline", "title"].includes(tag);
  const made = drawn ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  parent.append(made);
  return made;
}

function shown(value, sign = false) {
  if (value === null || value === undefined) return "no number";
  return (sign && value >= 0 ? "+" : "") + value.toFixed(2).replace("-", "\u2212");
}

function say(text, wrong = false) {
  $("status").textContent = text;
  $("status").className = wrong ? "wrong" : "";
}

function take(blob) {
  clip = blob;
  const preview = $("preview");
  if (preview.src) URL.revokeObjectURL(preview.src);
  preview.srcObject = null;
  preview.muted = false;
  preview.src = URL.createObjectURL(blob);
  preview.hidden = false;
  say("");
}

async function record() {
  if (recorder) return recorder.stop();
  if (!navigator.mediaDevices || !window.MediaRecorder) {
    return say("This browser records only at localhost or over https; choose a file instead.", true);
  }
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 640, height: 480 } });
  } catch (error) {
    return say(`Camera and microphone cannot be used (${error.message}); choose a file instead.`, true);
  }
  const parts = [], began = Date.now();
  recorder = new MediaRecorder(stream);
  clip = null;
  $("file").value = "";
  say("");
  recorder.ondataavailable = (event) => parts.push(event.data);
  const clock = setInterval(() => {
    const left = about.max_seconds - (Date.now() - began) / 1000;
    $("hint").textContent = `recording, ${Math.ceil(left)} s left`;
    if (left < 0.5) recorder.stop(); // a clip of exactly the limit would be refused
  }, 200);
  recorder.onstop = () => {
    clearInterval(clock);
    stream.getTracks().forEach((track) => track.stop());
    take(new Blob(parts, { type: recorder.mimeType }));
    recorder = null;
    $("record").textContent = "Record";
    $("hint").textContent = "";
  };
  $("preview").srcObject = stream;
  $("preview").muted = true;
  $("preview").hidden = false;
  $("preview").play();
  recorder.start();
  $("record").textContent = "Stop recording";
}

async function score(event) {
  event.preventDefault();
  if (!clip) return say(recorder ? "Stop the recording first." : "Choose a file, or record a clip.", true);
  if (clip.size > about.max_megabytes * 1e6) {
    return say(`The clip has ${(clip.size / 1e6).toFixed(1)} MB; at most ${about.max_megabytes} MB are taken.`, true);
  }
  const began = Date.now();
  const tick = () => {
    const seconds = Math.round((Date.now() - began) / 1000);
    say(`Scoring: ${seconds} s${seconds < 8 ? "" : " (others may be before you, and the first clip after a start takes longest)"}`);
  };
  const clock = setInterval(tick, 1000);
  request = new AbortController();
  $("result").hidden = true;
  $("score").disabled = $("record").disabled = true;
  $("stop").hidden = false;
  tick();
  let wrong = "";
  try {
    const said = encodeURIComponent($("transcript").value);
    const answer = await fetch(`score?transcript=${said}`, { method: "POST", body: clip, signal: request.signal });
    const content = await answer.json();
    if (answer.ok) show(content);
    else wrong = content.error;
  } catch (error) {
    wrong = error.name === "AbortError" ? "Stopped." : `The server does not answer (${error.message}).`;
  }
  clearInterval(clock);
  $("score").disabled = $("record").disabled = false;
  $("stop").hidden = true;
  say(wrong || `Scored in ${((Date.now() - began) / 1000).toFixed(1)} s.`, wrong !== "");
}

function show(made) {
  for (const id of ["scale", "classes", "contributions", "curve", "frames", "sound", "notes", "details"]) {
    $(id).replaceChildren();
  }
  const several = Object.keys(made.probabilities).length > 0;
  $("number").textContent = several ? `${made.label} (${shown(made.score)})` : `${shown(made.score, true)}, ${made.label}`;
  if (!several && made.score !== null) scale(made);
  if (several) bars("classes", "Probabilities", Object.entries(made.probabilities), "");
  const without = Object.entries(made.contributions);
  if (without.length) {
    bars("contributions", "What each modality contributed", without,
      "The score minus the score without this modality.", (name) => `without it ${shown(made.without[name], !several)}`);
  }
  if (made.curve.length) curve(made);
  if (made.frames) frames(made.frames);
  if (made.sound) sound(made.sound);
  for (const note of made.notes) add($("notes"), "li", {}, note);
  details(made);
  $("result").hidden = false;
  $("result").scrollIntoView();
}

function drawing(parent, height, label) {
  return add($(parent), "svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": label });
}

function scale(made) {
  const [low, high] = made.scale;
  const x = (value) => 20 + (WIDTH - 40) * Math.min(1, Math.max(0, (value - low) / (high - low)));
  const svg = drawing("scale", 44, `${shown(made.score)} on a scale from ${low} to ${high}`);
  add(svg, "line", { class: "axis", x1: x(low), x2: x(high), y1: 14, y2: 14 });
  const ticks = low < 0 && high > 0 ? [low, 0, high] : [low, high];
  for (const tick of ticks) {
    add(svg, "line", { class: "axis", x1: x(tick), x2: x(tick), y1: 8, y2: 20 });
    add(svg, "text", { x: x(tick), y: 37, "text-anchor": "middle" }, shown(tick));
  }
  for (const value of Object.values(made.seeds)) {
    if (value !== null) add(svg, "line", { class: "line", x1: x(value), x2: x(value), y1: 9, y2: 19 });
  }
  add(svg, "circle", { class: "dot", cx: x(made.score), cy: 14, r: 7 });
}

function bars(id, title, rows, note, more = () => "") {
  add($(id), "h2", {}, title);
  if (note) add($(id), "p", { class: "soft" }, note);
  const values = rows.map(([, value]) => value ?? 0);
  const low = Math.min(0, ...values), high = Math.max(0, ...values), from = 90, to = WIDTH - 20;
  const x = (value) => from + (to - from) * (value - low) / (high - low || 1);
  const svg = drawing(id, rows.length * 40, `${title}: ${rows.map(([name, value]) => `${name} ${shown(value)}`).join(", ")}`);
  rows.forEach(([name, value], i) => {
    const y = i * 40, [left, right] = [Math.min(0, value ?? 0), Math.max(0, value ?? 0)];
    add(svg, "text", { x: 0, y: y + 15 }, name);
    add(svg, "line", { class: "axis", x1: x(0), x2: x(0), y1: y, y2: y + 20 });
    add(svg, "rect", { class: value < 0 ? "minus" : "plus", x: x(left), y: y + 3, width: x(right) - x(left), height: 14 });
    add(svg, "text", { x: from, y: y + 32 }, [shown(value, id === "contributions"), more(name)].filter(Boolean).join(", "));
  });
}

function curve(made) {
  const points = made.curve.filter(([, value]) => value !== null);
  if (!points.length) return;
  add($("curve"), "h2", {}, "The score over time");
  add($("curve"), "p", { class: "soft" },
    "Of the clip from its start up to each time, with all of its words: where the line moves, sound or pictures changed the score.");
  const values = points.map(([, value]) => value), end = made.curve.at(-1)[0];
  const middle = (Math.min(...values) + Math.max(...values)) / 2;
  const half = Math.max((Math.max(...values) - Math.min(...values)) / 2, 0.05) * 1.1;
  const x = (seconds) => 44 + (WIDTH - 64) * seconds / end;
  const y = (value) => 75 - 65 * (value - middle) / half;
  const svg = drawing("curve", 175, `the score over ${end.toFixed(1)} seconds`);
  for (const value of [middle - half, middle, middle + half]) {
    add(svg, "line", { class: "axis", x1: 44, x2: WIDTH - 20, y1: y(value), y2: y(value) });
    add(svg, "text", { x: 38, y: y(value) + 4, "text-anchor": "end" }, shown(value));
  }
  add(svg, "polyline", { class: "line", points: points.map(([s, value]) => `${x(s)},${y(value)}`).join(" ") });
  for (const [s, value] of points) {
    const dot = add(svg, "circle", { class: "dot", cx: x(s), cy: y(value), r: 3 });
    add(dot, "title", {}, `${s.toFixed(1)} s: ${shown(value)}`);
  }
  for (const s of [0, end / 2, end]) add(svg, "text", { x: x(s), y: 165, "text-anchor": "middle" }, `${s.toFixed(1)} s`);
}

function frames(read) {
  add($("frames"), "h2", {}, "Frames that were read");
  add($("frames"), "p", { class: "soft" }, `${read.pictures.length} of ${read.count}, as the features are made of them: ${read.what}`);
  const grid = add($("frames"), "div", { class: "frames" });
  for (const [seconds, picture] of read.pictures) {
    const figure = add(grid, "figure");
    add(figure, "img", { src: picture, alt: `frame at ${seconds.toFixed(1)} seconds` });
    add(figure, "figcaption", {}, `${seconds.toFixed(1)} s`);
  }
}

function sound(read) {
  add($("sound"), "h2", {}, read.what.startsWith("mel") ? "Spectrogram that was read" : "Sound that was read");
  add($("sound"), "p", { class: "soft" }, read.what);
  const figure = add($("sound"), "figure", { class: "sound" });
  add(figure, "img", { src: read.picture, alt: `sound features over ${read.seconds.toFixed(1)} seconds` });
  const ends = add(figure, "figcaption", { class: "ends" });
  for (const seconds of [0, read.seconds]) add(ends, "span", {}, `${seconds.toFixed(1)} s`);
}

function details(made) {
  const row = (name, value) => { add($("details"), "dt", {}, name); add($("details"), "dd", {}, value); };
  row("transcript", made.transcript || "none");
  for (const [seed, value] of Object.entries(made.seeds)) row(`seed ${seed}`, shown(value));
  for (const [name, value] of Object.entries(made.figures)) row(name, shown(value));
  for (const [stage, seconds] of Object.entries(made.seconds)) row(`seconds, ${stage}`, shown(seconds));
}

async function start() {
  about = await (await fetch("about")).json();
  const models = about.seeds > 1 ? `the mean of ${about.seeds} seeds` : "one seed";
  $("about").textContent = `${about.system} on ${about.dataset}, reads ${about.modalities.join(", ")}; ${models}. Clips are deleted after they are scored.`;
  $("limit").textContent = `(at most ${about.max_megabytes} MB and ${about.max_seconds} s)`;
  $("transcript").maxLength = about.letters;
}

$("file").addEventListener("change", () => { if ($("file").files.length) take($("file").files[0]); });
$("record").addEventListener("click", record);
$("stop").addEventListener("click", () => request.abort());
$("form").addEventListener("submit", score);
start();
