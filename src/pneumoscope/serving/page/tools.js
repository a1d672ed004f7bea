// The tools of the viewer: what buttons and keys do to the film, or to both films where they are linked.
import { linesOf } from "./caliper.js";
import { h } from "./dom.js";
import { PRESETS } from "./greys.js";
import { othersOf, drawOthers } from "./patients.js";
import { t } from "./words.js";
import { FIRST_TOOL, Stage } from "./viewer.js";

const $ = (id) => document.getElementById(id);
// A key held for longer than so many milliseconds acts while it is held.
const HELD = 400;
// Milliseconds until a film that the service did not decode is asked for again.
const AGAIN = 3000;

let stages = null;
let onCompare = () => {};
let active = null; // the stage that was used last
let linked = true;
let loupe = false;
let header = false;
let drawn = "";

// Stages are added to the list that is given; `changed` is called where a second one comes or goes, and where one gets, shows or misses a film.
export function startTools(given, changed) {
  stages = given;
  onCompare = changed;
  stages.push(new Stage(onStage));
  active = stages[0];
  $("stages").append(active.node);
  $("preset").append(...[...PRESETS, "own"].map((name) => h("option", { value: name, "data-word": `preset.${name}`, hidden: name === "own" })));
  $("preset").addEventListener("change", (event) => event.target.value !== "own" && usePreset(event.target.value));
  $("evidence").addEventListener("input", (event) => stages.forEach((stage) => stage.showEvidence(event.target.value / 100)));
  for (const [id, act] of Object.entries(BUTTONS)) $(id).addEventListener("click", act);
  document.addEventListener("keyup", release);
  setInterval(() => stages.forEach((stage) => stage.again()), AGAIN);
  refresh();
}

function onStage(stage, what) {
  if (what === "chosen" || what === "view") active = stage;
  if (what === "view") lead(stage);
  if (what === "spot" && linked) for (const other of others(stage)) other.pointAtShare(stage.spotShare);
  // A film that comes beside another is shown as that one is.
  if (what === "film" && stage.film && linked) for (const other of others(stage).filter(({ film }) => film)) stage.follow(other.relative);
  if (what === "film") onCompare();
  refresh();
}

const others = (stage) => stages.filter((other) => other !== stage);

// The others are shown as this one is.
function lead(stage) {
  if (linked) for (const other of others(stage)) if (other.film) other.follow(stage.relative);
}

const withFilm = () => (active.film ? active : stages.find((stage) => stage.film));

// What is done to one film and followed by the other.
function view(act) {
  const stage = withFilm();
  if (!stage) return;
  act(stage);
  lead(stage);
  refresh();
}

// What is done to each film by itself: to both where they are linked.
function each(act) {
  for (const stage of linked ? stages : [active]) if (stage.film) act(stage);
  refresh();
}

const zoomIn = () => view((stage) => stage.zoomBy(1.25));
const zoomOut = () => view((stage) => stage.zoomBy(0.8));
const oneToOne = () => view((stage) => stage.zoomTo(1));
const fit = () => view((stage) => stage.fit());
const reset = () => each((stage) => stage.reset());
const invert = () => each((stage) => stage.invert());
const rotateLeft = () => each((stage) => stage.rotate(-1));
const rotateRight = () => each((stage) => stage.rotate(1));
const flip = () => each((stage) => stage.flip());
const usePreset = (name) => each((stage) => stage.usePreset(name));

function nextPreset() {
  const stage = withFilm();
  if (stage) usePreset(stage.nextPreset());
}

// Where none is chosen at first, the one in use is put away by itself.
function useTool(wanted) {
  const tool = FIRST_TOOL === null && active.tool === wanted ? null : wanted;
  stages.forEach((stage) => stage.use(tool));
  refresh();
}

function useLoupe(on) {
  loupe = on;
  stages.forEach((stage) => stage.useLoupe(on));
  refresh();
}

// The key toggles the loupe; held, it shows the loupe while it is held.
let pressed = 0;
function pressLoupe(event) {
  if (event.repeat) return;
  pressed = event.timeStamp;
  useLoupe(!loupe);
}

function release(event) {
  if (event.key.toLowerCase() === "l" && pressed && event.timeStamp - pressed > HELD) useLoupe(false);
  if (event.key.toLowerCase() === "l") pressed = 0;
}

function toggleHeader() {
  header = !header;
  stages.forEach((stage) => stage.showHeader(header));
  refresh();
}

function toggleLink() {
  if (stages.length < 2) return;
  linked = !linked;
  const stage = withFilm();
  if (stage) lead(stage);
  refresh();
}

function toggleEvidence() {
  const slider = $("evidence");
  slider.value = slider.value > 0 ? 0 : 70;
  slider.dispatchEvent(new Event("input"));
}

// The line that was drawn last on the film in use.
function deleteLine() {
  const stage = withFilm();
  if (!stage) return;
  stage.drag = null;
  linesOf(stage.item).pop();
  stage.draw();
}

export function compare() {
  if (stages.length > 1) {
    const [gone] = stages.splice(1);
    gone.onLook.disconnect();
    gone.node.remove();
    active = stages[0];
    linked = true;
  } else {
    const second = new Stage(onStage);
    second.use(stages[0].tool);
    second.evidence = stages[0].evidence;
    second.say(t("chooseCompare"));
    stages.push(second);
    $("stages").append(second.node);
    second.useLoupe(loupe);
    second.showHeader(header);
  }
  refresh();
  onCompare();
}

export function openBeside(film) {
  if (stages.length < 2) compare();
  stages[1].show(film);
  onCompare();
}

// Other films of the patient of the chosen one; drawn anew where something of it has changed.
export function refreshOthers(chosen, films, language) {
  const found = othersOf(chosen, films), beside = stages[1]?.item;
  const what = [language, chosen?.id, beside?.id, ...found.map(({ id }) => id)].join();
  if (what !== drawn) drawOthers($("others"), found, beside, openBeside);
  drawn = what;
}

function refresh() {
  const stage = withFilm(), comparing = stages.length > 1;
  const pressedNow = {
    "tool-window": active.tool === "window", "tool-pan": active.tool === "pan", "tool-caliper": active.tool === "caliper", loupe,
    invert: Boolean(stage?.inverted), flip: Boolean(stage?.flipped), compare: comparing, link: linked, header,
  };
  for (const [id, on] of Object.entries(pressedNow)) $(id).setAttribute("aria-pressed", String(on));
  $("link").hidden = !comparing;
  $("header").disabled = !stages.some(({ film }) => film?.header);
  $("preset").value = stage ? stage.presetInUse ?? "own" : "auto";
  for (const each of stages) each.node.classList.toggle("active", comparing && !linked && each === active);
}

const BUTTONS = {
  "tool-window": () => useTool("window"), "tool-pan": () => useTool("pan"), "tool-caliper": () => useTool("caliper"), loupe: () => useLoupe(!loupe),
  "zoom-in": zoomIn, "zoom-out": zoomOut, "one-to-one": oneToOne, fit, invert, "rotate-left": rotateLeft, "rotate-right": rotateRight, flip,
  compare, link: toggleLink, header: toggleHeader, reset,
};

export const TOOL_KEYS = {
  e: toggleEvidence, i: invert, "+": zoomIn, "-": zoomOut, 0: fit, 1: oneToOne, w: () => useTool("window"), h: () => useTool("pan"), g: () => useTool("caliper"),
  l: pressLoupe, "[": rotateLeft, "]": rotateRight, t: flip, v: nextPreset, c: compare, y: toggleLink, q: toggleHeader, z: reset, Escape: deleteLine,
};

export function toolWordsChanged() {
  for (const stage of stages) {
    if (stage.item) stage.label();
    else stage.say(t(stage === stages[0] ? "choose" : "chooseCompare"));
    stage.draw();
  }
}
