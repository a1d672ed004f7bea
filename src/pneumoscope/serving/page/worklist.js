// The worklist: films dropped on the page, those with suspected pneumonia first; the chosen one on the stage. Wires state, list, stage and controls.
import { h, put } from "./dom.js";
import { stored } from "./browser.js";
import { exportCsv, printReport } from "./exports.js";
import { addFilms, allFilms, bundleInUse, changed, countStates, filterInUse, filterNames, forgetAll, forgetFilm, hidesDecisions, orderInUse, orderNames, ORDERS, settle, useFilmsWith, useFilter, useOrder, useSearch, useSettings, visibleFilms, watchFilms } from "./films.js";
import { drawFinding, FINDING_KEYS, startFinding } from "./finding.js";
import { LABELS, labelWord } from "./labels.js";
import { FilmList } from "./list.js";
import { drawPacsFilm, filmOf, filmOfImage, openPacs, startPacs } from "./pacs.js";
import { forgetReadings, isBlinded, isRead, readerInUse, readingsOf, take } from "./readings.js";
import { fillRow } from "./rows.js";
import { forgetWaiting, offers, predict } from "./service.js";
import { dropFilm, forgetSession, forgetUnwritten, removeFilm, saveFilms, watchTabs } from "./session.js";
import { drawVerdict } from "./verdict.js";
import { compare, openBeside, refreshOthers, startTools, TOOL_KEYS, toolWordsChanged } from "./tools.js";
import { forgetFilms, prefetch } from "./viewer.js";
import { drawWelcome } from "./welcome.js";
import { count, currentLanguage, t } from "./words.js";

const $ = (id) => document.getElementById(id);
// Height of a row of the list in pixels, as style.css has it.
const ROW = 72;
// Files that are added at once: what the browser must find out about each takes time.
const AT_ONCE = 20;
// Milliseconds until predictions that arrive are drawn: of a few, and of many.
const SOON = 150, LATER = 500, MANY = 24;

let chosen = null;
let picked = false; // by a person
let clears = 0;
let adding = 0; // lists of files that are on their way into the worklist
let drawing = 0;
let soon = 0;
let allDone = 0; // films, where all have a prediction
let batch = null; // { began, before } of the films that are predicted now
let lastSecond = 0;
let list = null;
let verdictOf = "";
let toReveal = null; // a film to be scrolled to once the list has it
const stages = [];

export function startWorklist(inUse) {
  useFilmsWith(inUse);
  offerPoints();
  restoreSettings(inUse);
  $("drop").querySelector("[data-word=dropMore]").dataset.word = offers.films ? "dropMoreFilms" : offers.history ? "dropMoreKept" : "dropMore";
  startTools(stages, changed);
  list = new FilmList($("films"), ROW, (node, film) => fillRow(node, film, { chosen: film === chosen, pinned: stages[1]?.item === film, pick, retry: analyse, redraw: () => changed(film) }));
  watchFilms(redraw);
  watchTabs(heardOf);

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
  $("search-films").addEventListener("input", (event) => useSearch(event.target.value));
  $("order").append(...Object.keys(ORDERS).map((name) => h("option", { value: name })));
  $("order").addEventListener("change", (event) => useOrder(event.target.value));
  startFinding(() => chosen, nextUnread, () => stages[0].item === chosen && stages[0].isShown);
  startPacs(openStudy);
  $("print").addEventListener("click", printReport);
  $("clear").addEventListener("click", clear);
  $("remove-film").addEventListener("click", removeChosen);
  redraw(true);
}

function offerPoints() {
  const select = $("operating-point"), before = select.value;
  const names = Object.keys(bundleInUse().operating_points);
  select.replaceChildren(...names.map((name) => h("option", { value: name })));
  select.value = names.includes(before) ? before : "balanced";
}

function applySettings() {
  const [point, prevalence] = [$("operating-point").value, $("prevalence").value / 100];
  useSettings(point, prevalence);
  stored.set("settings", JSON.stringify({ point, prevalence, bundle: bundleInUse().sha256 }));
}

// Operating point and prevalence of the last visit, if they were set for this bundle.
function restoreSettings(inUse) {
  let kept = {};
  try {
    kept = JSON.parse(stored.get("settings")) ?? {};
  } catch {
    // Another program's words under this name.
  }
  const known = kept.bundle === inUse.sha256 && inUse.operating_points[kept.point] && kept.prevalence > 0 && kept.prevalence < 1;
  const { point, prevalence } = known ? kept : { point: "balanced", prevalence: inUse.prevalence };
  $("operating-point").value = point;
  $("prevalence").value = Number((100 * prevalence).toFixed(3));
  useSettings(point, prevalence);
}

// The service predicts with another bundle: nothing of the one before is shown as its own.
export function changeBundle(inUse) {
  if (Number($("prevalence").value) === 100 * bundleInUse().prevalence) $("prevalence").value = 100 * inUse.prevalence;
  useFilmsWith(inUse);
  for (const stage of stages) stage.forgetLayer();
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
  addAll(files.map((file) => ({ file, name: file.name, path: paths.get(file) ?? file.name })));
}

// Films with a name, a path and a file; those that were here before also with their prediction. A few at a time, with pauses in
// which the page answers.
export async function addAll(found) {
  let known = 0, opened = null;
  const since = clears;
  adding += 1;
  for (let from = 0; from < found.length && since === clears; from += AT_ONCE) {
    const part = found.slice(from, from + AT_ONCE), added = addFilms(part);
    known += part.length - added.length;
    if (!part[0].id) saveFilms(added, true); // those with an id come from where they are kept
    for (const film of added) if (!film.stored) analyse(film);
    const before = added.find((film) => String(film.id) === stored.get("chosen"));
    if (before) {
      picked = true;
      choose(before);
      opened = before;
    }
    await new Promise((done) => setTimeout(done));
  }
  adding -= 1;
  toReveal = opened; // now that the list has its order
  if (known) $("announcement").textContent = t("already", { count: count(known) });
  showFirst();
  changed();
}

// Images of a study of the PACS and of earlier ones: the first on the stage, and the patient's last earlier one beside it.
async function openStudy(images) {
  await addAll(images.map(filmOf));
  const [first, before] = [false, true].map((earlier) => images.find((image) => image.earlier === earlier)).map((image) => image && filmOfImage(image));
  if (stages.length > 1) compare();
  if (first) pick(first);
  if (first && before) openBeside(before);
}

// When all have a prediction the first of the list is shown, unless a person has chosen another.
function showFirst() {
  if (!picked && !adding && !countStates().waiting && visibleFilms()[0]) choose(visibleFilms()[0]);
}

// The prediction at the bundle's own prevalence; thresholds and prevalence in use are applied to it on the page.
async function analyse(film) {
  const request = (film.request = {});
  batch ??= { began: performance.now(), before: allFilms().length - countStates().waiting };
  settle(film, null);
  let found = null, problem = null;
  try {
    found = await predict(film);
  } catch (error) {
    problem = error;
  }
  if (film.request !== request || !allFilms().includes(film)) return; // requested anew since, or cleared
  const settled = settle(film, found, problem);
  saveFilms([settled], countStates().waiting > 0);
  if (settled !== film) {
    removeFilm(film);
    if (chosen === film) show(settled);
    if (chosen === settled && picked) stored.set("chosen", settled.id);
    if (stages[1]?.item === film) stages[1].show(settled);
  }
  if (!chosen && found) choose(settled);
  showFirst();
}

// The service keeps what it kept of the film.
function removeChosen() {
  const film = chosen;
  if (!film || (readingsOf(film).size && !confirm(t("removeRead", { name: film.name })))) return;
  takeAway(film);
  removeFilm(film);
  $("announcement").textContent = t("removed", { name: film.name });
}

function takeAway(film) {
  const shown = visibleFilms(), at = shown.indexOf(film), next = shown[at + 1] ?? shown[at - 1] ?? null;
  if (film.thumb) URL.revokeObjectURL(film.thumb);
  forgetFilm(film);
  if (stages[1]?.item === film) compare();
  if (chosen !== film) return;
  show(next);
  if (next) stored.set("chosen", next.id);
}

function clear() {
  if (!confirm(t(!allFilms().some(isRead) ? "forgetFilms" : offers.history ? "forgetHere" : "forgetLabels"))) return;
  empty();
  forgetSession();
}

function empty() {
  for (const film of allFilms()) if (film.thumb) URL.revokeObjectURL(film.thumb);
  chosen = null;
  picked = false;
  forgetFilms();
  if (stages.length > 1) compare();
  stages[0].show(null);
  clears += 1;
  forgetWaiting();
  if (!offers.history) forgetReadings();
  forgetAll();
}

function heardOf(reading) {
  if (reading?.removed) {
    const film = allFilms().find(({ id }) => id === reading.removed);
    if (film) takeAway(film);
    dropFilm({ id: reading.removed });
  } else if (!reading) {
    empty();
    forgetUnwritten();
    $("announcement").textContent = t("clearedElsewhere");
  } else if (take(reading)) {
    for (const film of allFilms()) if (film.sha256 === reading.sha256) changed(film);
  }
}

// What a person does is drawn with the next frame. Of predictions many arrive together, and a list in motion cannot be read.
function redraw(atOnce) {
  if (!atOnce) {
    soon ||= setTimeout(redraw, countStates().waiting > MANY ? LATER : SOON, true);
    return;
  }
  drawing ||= requestAnimationFrame(() => {
    clearTimeout(soon);
    drawing = soon = 0;
    const films = allFilms(), shown = visibleFilms(), counts = countStates(), done = films.length - counts.waiting;
    // A film that the filter hides is not on the stage: what is said of it would stand beside a list without it.
    const hides = chosen && !shown.includes(chosen) && !keepsChosen();
    if (hides || (!chosen && picked && shown.length)) show(shown[0] ?? null);
    drawFilters(counts);
    const words = [currentLanguage(), ...LABELS.map(labelWord)].join();
    list.show(shown, (film) => `${words} ${film === chosen} ${film === stages[1]?.item}`);
    if (toReveal) list.reveal(toReveal);
    toReveal = null;
    $("empty").hidden = Boolean(shown.length) || !films.length;
    $("empty").textContent = t("emptyFilter");
    const what = `${chosen?.id} ${chosen?.version} ${currentLanguage()} ${readerInUse()} ${isBlinded()}`;
    if (what !== verdictOf) {
      drawVerdict($("verdict"), chosen, () => changed(chosen));
      for (const stage of stages) if (stage.film) [stage.label(), stage.showEvidence()];
    }
    verdictOf = what;
    refreshOthers(chosen, films, currentLanguage());
    drawPacsFilm(chosen);
    drawFinding();
    drawWelcome(!films.length);
    $("finding").hidden = $("below").hidden = $("stages").hidden = !films.length;
    $("detector").textContent = t("detectorInUse", { name: bundleInUse().name, version: bundleInUse().version });
    drawProgress(done);
    $("page-worklist").classList.toggle("filled", films.length > 0);
    // In a blinded reading they would tell what the detector says of films that are not read yet.
    const tells = hidesDecisions(counts);
    for (const id of ["csv", "print"]) $(id).disabled = !done || tells;
    $("clear").disabled = !done;
    $("remove-film").disabled = !chosen;
    for (const option of $("operating-point").options) option.textContent = t(option.value);
    const orders = orderNames();
    for (const option of $("order").options) [option.textContent, option.hidden] = [t(`order.${option.value}`), !orders.includes(option.value)];
    $("order").value = orderInUse();
  });
}

// A film that was read just now stays on the stage, though the filter "unread" lets it through no more.
const keepsChosen = () => filterInUse() === "unread" && isRead(chosen);

function drawProgress(done) {
  const all = allFilms().length, [bar, said] = $("progress").children;
  $("progress").hidden = done === all;
  bar.max = Math.max(1, all);
  bar.value = done;
  const whole = all > 0 && done === all && !adding;
  // Said once, when there are more than before: what is said of one film is not to be said over.
  if (whole && done > allDone) {
    $("announcement").textContent = t("analysedCount", { done: count(done), all: count(all) });
    document.dispatchEvent(new Event("films-analysed"));
  }
  if (done < all) allDone = 0;
  else if (!adding) allDone = done;
  if (done === all) batch = null;
  if (!batch) return;
  const seconds = (performance.now() - batch.began) / 1000, rate = (done - batch.before) / seconds;
  // A number that changes with every film cannot be read.
  if (seconds > 1 && rate > 0 && Math.floor(seconds) !== lastSecond) {
    lastSecond = Math.floor(seconds);
    said.textContent = t("progressRate", { done: count(done), all: count(all), rate: count(Math.max(1, Math.round(rate))), left: timeLeft((all - done) / rate) });
  } else if (seconds <= 1) said.textContent = t("analysedCount", { done: count(done), all: count(all) });
}

const timeLeft = (seconds) => (seconds < 90 ? t("secondsLeft", { count: count(Math.ceil(seconds)) }) : t("minutesLeft", { count: count(Math.ceil(seconds / 60)) }));

function drawFilters(counts) {
  const names = filterNames(), numbers = { ...counts, all: allFilms().length };
  const present = [...$("filters").children].map((button) => button.dataset.filter);
  if (present.join() !== names.join()) {
    put($("filters"), names.map((name) => h("button", { type: "button", "data-filter": name, class: name, onclick: () => useFilter(name) })));
  }
  for (const button of $("filters").children) {
    const name = button.dataset.filter;
    button.textContent = `${t(name)} ${count(numbers[name])}`;
    button.setAttribute("aria-pressed", String(filterInUse() === name));
  }
}

function choose(film) {
  const waits = stages.length > 1 && !stages[1].item;
  if (waits && film !== chosen) stages[1].show(film);
  else show(film);
  changed();
}

function show(film) {
  chosen = film;
  stages[0].show(film);
}

function pick(film) {
  picked = true;
  stored.set("chosen", film.id);
  choose(film);
  // Where the viewer lies below the list, as on a phone, it is brought into sight.
  if (matchMedia("(max-width: 52rem)").matches) $("stages").scrollIntoView({ block: "start" });
}

function move(step) {
  const shown = visibleFilms();
  if (!shown.length) return;
  const at = shown.indexOf(chosen);
  const place = Math.min(shown.length - 1, Math.max(0, at + step));
  pick(shown[place]);
  list.reveal(shown[place]);
  // The films that are likely next are decoded meanwhile.
  for (const film of [shown[place + step], shown[place + 2 * step]]) if (film) prefetch(film);
}

function nextFilter() {
  const all = filterNames();
  useFilter(all[(all.indexOf(filterInUse()) + 1) % all.length]);
}

// On to the next film in the list that the reader in use has not read, from the chosen one on.
function nextUnread() {
  const shown = visibleFilms(), from = shown.indexOf(chosen) + 1;
  const next = [...shown.slice(from), ...shown.slice(0, from)].find((film) => !isRead(film) && film.sha256);
  if (!next) {
    $("announcement").textContent = t("allRead");
    return;
  }
  pick(next);
  list.reveal(next);
  for (const film of shown.slice(shown.indexOf(next) + 1).filter((film) => !isRead(film)).slice(0, 2)) prefetch(film);
}

export const SHORTCUTS = {
  j: () => move(1), ArrowDown: () => move(1), k: () => move(-1), ArrowUp: () => move(-1),
  ...TOOL_KEYS, f: nextFilter, o: () => $("files").click(), s: openPacs, r: nextUnread, ...FINDING_KEYS,
};

export function wordsChanged() {
  if (!stages.length) return;
  toolWordsChanged();
  changed();
}
