// The worklist: films dropped on the page, sorted by urgency; the chosen one on the stage. Wires state, list, stage and controls.
import { h } from "./dom.js";
import { exportCsv, printReport } from "./exports.js";
import { addFilms, allFilms, bundleInUse, changed, countStates, DECISIONS, filterInUse, forgetAll, labelledFilms, settingsInUse, settle, useFilmsWith, useFilter, useSettings, visibleFilms, watchFilms } from "./films.js";
import { exportLabels, LABELS, labelWord, nameFields, namesWrong } from "./labels.js";
import { FilmList } from "./list.js";
import { fillRow } from "./rows.js";
import { predict } from "./service.js";
import { drawVerdict } from "./verdict.js";
import { compare, refreshOthers, startTools, TOOL_KEYS, toolWordsChanged } from "./tools.js";
import { forgetFilms, prefetch } from "./viewer.js";
import { count, currentLanguage, t } from "./words.js";

const $ = (id) => document.getElementById(id);
// Height of a row of the list in pixels, as style.css has it.
const ROW = 72;
// Milliseconds until predictions that arrive are drawn.
const SOON = 150;

let chosen = null;
let picked = false; // by a person
let drawing = 0;
let soon = 0;
let allDone = 0; // films, where all have a prediction
let list = null;
let verdictOf = "";
const stages = [];

export function startWorklist(inUse, kept) {
  useFilmsWith(inUse);
  offerPoints();
  useSettings("balanced", inUse.prevalence);
  $("prevalence").value = 100 * inUse.prevalence;
  $("drop").querySelector("[data-word=dropMore]").dataset.word = kept ? "dropMoreKept" : "dropMore";
  startTools(stages, changed);
  list = new FilmList($("films"), ROW, (node, film) => fillRow(node, film, { chosen: film === chosen, pinned: stages[1]?.item === film, pick, retry: analyse, redraw: () => changed(film) }));
  watchFilms(redraw);

  $("files").addEventListener("change", (event) => {
    add([...event.target.files]);
    event.target.value = "";
  });
  for (const [name, act] of Object.entries({ dragover: true, dragenter: true, dragleave: false, drop: false })) {
    document.addEventListener(name, (event) => {
      event.preventDefault();
      document.body.classList.toggle("dropping", act);
      if (name === "drop") dropped(event.dataTransfer).then(add);
    });
  }
  $("operating-point").addEventListener("change", applySettings);
  $("prevalence").addEventListener("change", (event) => {
    const value = Number(event.target.value);
    if (!(value > 0 && value < 100)) event.target.value = 100 * bundleInUse().prevalence;
    applySettings();
  });
  $("csv").addEventListener("click", exportCsv);
  $("label-names").append(nameFields("worklist"));
  document.addEventListener("class-names", () => changed());
  for (const label of LABELS) $(`label-${label}`).addEventListener("click", () => setLabel(label));
  $("csv-labels").addEventListener("click", () => exportLabels(labelledFilms()));
  window.addEventListener("beforeunload", (event) => labelledFilms().length && event.preventDefault());
  $("print").addEventListener("click", printReport);
  $("clear").addEventListener("click", clear);
  redraw(true);
}

function offerPoints() {
  const select = $("operating-point"), before = select.value;
  const names = Object.keys(bundleInUse().operating_points);
  select.replaceChildren(...names.map((name) => h("option", { value: name })));
  select.value = names.includes(before) ? before : "balanced";
}

const applySettings = () => useSettings($("operating-point").value, $("prevalence").value / 100);

// The service predicts with another bundle: nothing of the one before is shown as its own.
export function changeBundle(inUse) {
  if (Number($("prevalence").value) === 100 * bundleInUse().prevalence) $("prevalence").value = 100 * inUse.prevalence;
  useFilmsWith(inUse);
  offerPoints();
  applySettings();
  $("announcement").textContent = t("bundleChanged", { name: inUse.name, version: inUse.version });
  for (const film of allFilms()) analyse(film);
  wordsChanged();
}

// File to its path in the folder that was dropped.
const paths = new WeakMap();

// Folders too, with what lies in them.
async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files];
  const found = [];
  const walk = async (entry) => {
    if (entry.isFile) {
      const file = await new Promise((done, fail) => entry.file(done, fail));
      paths.set(file, entry.fullPath.slice(1));
      found.push(file);
    }
    else {
      const reader = entry.createReader();
      for (;;) {
        const some = await new Promise((done, fail) => reader.readEntries(done, fail));
        if (!some.length) break;
        for (const inner of some) await walk(inner);
      }
    }
  };
  for (const entry of entries) await walk(entry);
  return found.filter((file) => !file.name.startsWith("."));
}

function add(files) {
  for (const film of addFilms(files, (file) => paths.get(file) ?? file.name)) analyse(film);
}

// The prediction at the bundle's own prevalence; thresholds and prevalence in use are applied to it on the page.
async function analyse(film) {
  const request = (film.request = {});
  settle(film, null);
  let stored = null, problem = null;
  try {
    stored = await predict(film.file);
  } catch (error) {
    problem = error;
  }
  if (film.request !== request || !allFilms().includes(film)) return; // requested anew since, or cleared
  settle(film, stored, problem);
  if (!chosen && stored) choose(film);
  // When all have a prediction the most urgent is shown, unless a person has chosen another.
  const counts = countStates();
  if (!picked && !counts.waiting && visibleFilms()[0]) choose(visibleFilms()[0]);
  if (film === chosen) stages[0].label();
}

// The same label again removes it.
function setLabel(label) {
  if (!chosen) return;
  chosen.label = chosen.label === label ? null : label;
  const said = chosen.label ? t("labelled", { name: chosen.name, label: labelWord(chosen.label) }) : t("labelRemoved", { name: chosen.name });
  $("announcement").textContent = said;
  changed(chosen);
}

function clear() {
  if (!confirm(t(labelledFilms().length ? "forgetLabels" : "forgetFilms"))) return;
  for (const film of allFilms()) if (film.thumb) URL.revokeObjectURL(film.thumb);
  chosen = null;
  picked = false;
  forgetFilms();
  if (stages.length > 1) compare();
  stages[0].show(null);
  forgetAll();
}

// What a person does is drawn with the next frame. Of predictions many arrive together, and a list in motion cannot be read.
function redraw(atOnce) {
  if (!atOnce) {
    soon ||= setTimeout(redraw, SOON, true);
    return;
  }
  drawing ||= requestAnimationFrame(() => {
    clearTimeout(soon);
    drawing = soon = 0;
    const films = allFilms(), shown = visibleFilms(), counts = countStates(), done = films.length - counts.waiting;
    // A film that the filter hides is not on the stage: what is said of it would stand beside a list without it.
    if (chosen && !shown.includes(chosen) && shown.length) choose(shown[0]);
    drawFilters(counts);
    list.show(shown, [currentLanguage(), ...LABELS.map(labelWord), chosen?.id, stages[1]?.item?.id].join());
    $("empty").hidden = Boolean(shown.length);
    $("empty").textContent = t(films.length ? "emptyFilter" : "empty");
    const what = `${chosen?.id} ${chosen?.version} ${currentLanguage()}`;
    if (what !== verdictOf) drawVerdict($("verdict"), chosen, () => changed(chosen));
    verdictOf = what;
    refreshOthers(chosen, films, currentLanguage());
    drawLabels();
    drawProgress(done);
    for (const id of ["csv", "print", "clear"]) $(id).disabled = !done;
    for (const option of $("operating-point").options) option.textContent = t(option.value);
  });
}

function drawProgress(done) {
  const all = allFilms().length;
  $("progress").hidden = done === all;
  $("progress").max = Math.max(1, all);
  $("progress").value = done;
  const whole = all > 0 && done === all;
  // Said once: what follows is not to be said over.
  if (whole && allDone !== done) $("announcement").textContent = t("analysedCount", { done: count(done), all: count(all) });
  allDone = whole ? done : 0;
}

function drawFilters(counts) {
  const names = ["all", ...DECISIONS, ...(counts.failed || filterInUse() === "failed" ? ["failed"] : [])];
  const numbers = { ...counts, all: allFilms().length };
  if ($("filters").childElementCount !== names.length) {
    $("filters").replaceChildren(...names.map((name) => h("button", { type: "button", "data-filter": name, class: name, onclick: () => useFilter(name) })));
  }
  for (const button of $("filters").children) {
    const name = button.dataset.filter;
    button.textContent = `${t(name)} ${count(numbers[name])}`;
    button.setAttribute("aria-pressed", String(filterInUse() === name));
  }
}

function drawLabels() {
  const labelled = labelledFilms();
  const counts = LABELS.map((label) => `${count(labelled.filter((film) => film.label === label).length)} ${labelWord(label)}`);
  $("label-counts").textContent = counts.join(", ");
  $("csv-labels").disabled = !labelled.length || namesWrong();
  for (const label of LABELS) {
    const button = $(`label-${label}`);
    button.textContent = labelWord(label);
    button.disabled = !chosen || Boolean(chosen.problem);
    button.setAttribute("aria-pressed", String(chosen?.label === label));
  }
  $("detector").textContent = t("detectorInUse", { name: bundleInUse().name, version: bundleInUse().version });
}

function choose(film) {
  const waits = stages.length > 1 && !stages[1].item;
  if (waits && film !== chosen) stages[1].show(film);
  else {
    chosen = film;
    stages[0].show(film);
  }
  changed();
}

function pick(film) {
  picked = true;
  choose(film);
  // Where the viewer lies below the list, as on a phone, it is brought into sight.
  if (matchMedia("(max-width: 52rem)").matches) $("reading").scrollIntoView({ block: "start" });
}

function move(step) {
  const shown = visibleFilms();
  if (!shown.length) return;
  const at = shown.indexOf(chosen);
  const place = Math.min(shown.length - 1, Math.max(0, at + step));
  pick(shown[place]);
  list.reveal(shown[place]);
  // The film that is likely next is decoded meanwhile.
  if (shown[place + step]) prefetch(shown[place + step]);
}

function nextFilter() {
  const all = ["all", ...DECISIONS];
  useFilter(all[(all.indexOf(filterInUse()) + 1) % all.length]);
}

export const SHORTCUTS = {
  j: () => move(1), ArrowDown: () => move(1), k: () => move(-1), ArrowUp: () => move(-1),
  ...TOOL_KEYS, f: nextFilter, o: () => $("files").click(),
  n: () => setLabel("negative"), p: () => setLabel("positive"), u: () => chosen?.label && setLabel(chosen.label),
};

export function wordsChanged() {
  if (!stages.length) return;
  toolWordsChanged();
  changed();
}
