// The reader's part: own findings by one key, whose they are, blinded or not, and how often the detector is right here.
import { h, put } from "./dom.js";
import { exportLabels, exportReadings, labelledPaths, patientsOf } from "./exports.js";
import { allFilms, changed, countStates, hidesDecisions, labelCounts, labelledFilms } from "./films.js";
import { LABELS, labelWord, nameFields, namesWrong } from "./labels.js";
import { matrixOf } from "./performance.js";
import { anyReading, canBeRead, FINDINGS, isBlinded, isRead, read, readerInUse, readerNames, readingOf, readingsOf, REASONS, renameReader, useBlinded, useReader, withdraw } from "./readings.js";
import { offers, postJson } from "./service.js";
import { count, decimal, percent, t } from "./words.js";

const $ = (id) => document.getElementById(id);
// Milliseconds until what is measured of the readings is requested anew.
const SOON = 400;
// Images of each class below which the service adapts to nothing (adaptation/site.py).
export const FEWEST = 20;

let chosen = () => null, isShown = () => false;
let said = null; // what was said last: of which film, and whether that is so until it is shown
let later = 0, requested = "";
let measured = null, problem = null;

// `film` gives the chosen film, `shown` whether it is seen on the stage; `next` goes on to one that is not read.
export function startFinding(film, next, shown) {
  [chosen, isShown] = [film, shown];
  // The button of a finding that stands withdraws it. A key that is hit twice must not.
  for (const finding of FINDINGS) $(`label-${finding}`).addEventListener("click", () => give(readingOf(chosen())?.finding === finding ? null : finding));
  $("agree").addEventListener("click", agree);
  $("next-unread").addEventListener("click", next);
  $("finding").addEventListener("submit", (event) => event.preventDefault());
  $("reason").addEventListener("change", (event) => note({ reason: event.target.value }));
  $("comment").addEventListener("change", (event) => note({ comment: event.target.value.trim() }));
  $("reader").addEventListener("change", (event) => {
    useReader(event.target.value);
    changedForAll();
  });
  // Further keys are findings, not letters of the name.
  $("reader").addEventListener("keydown", (event) => ["Enter", "Escape"].includes(event.key) && event.target.blur());
  $("rename-reader").addEventListener("click", rename);
  $("blinded").addEventListener("change", (event) => {
    useBlinded(event.target.checked);
    changedForAll();
  });
  $("csv-labels").addEventListener("click", exportLabels);
  $("csv-readings").addEventListener("click", exportReadings);
  $("label-names").append(nameFields("worklist"));
  document.addEventListener("class-names", () => changed());
}

function rename() {
  const name = prompt(t("renameTo", { name: readerInUse() }), readerInUse());
  if (name === null) return;
  if (renameReader(name)) changedForAll();
  else alert(t("nameTaken", { name }));
}

// Whose readings count, and whether they are blinded, changes what every row may show.
function changedForAll() {
  for (const film of allFilms()) film.version += 1;
  changed();
}

// A finding on the chosen film; none withdraws the one that stands.
export function give(finding) {
  const film = chosen();
  if (!canBeRead(film) || film.problem) return;
  if (finding === null) withdraw(film);
  else if (isShown()) read(film, { finding });
  else {
    say(t("notShown"), film, true);
    return;
  }
  say(isRead(film) ? t("labelled", { name: film.name, label: labelWord(readingOf(film).finding) }) : t("labelRemoved", { name: film.name }), film);
  changed(film);
}

// Beside the findings, until another film is chosen.
function say(words, film, untilShown = false) {
  $("given").textContent = words;
  said = { film, untilShown };
}

// Findings that the service did not take yet.
export function sayUnsent(number) {
  $("unsent").textContent = number ? t(number === 1 ? "unsentFinding" : "unsentFindings", { count: count(number) }) : "";
}

const agreeable = (film) => canBeRead(film) && !(isBlinded() && !isRead(film)) && ["normal", "pneumonia"].includes(film.prediction?.decision);

// The detector's decision as one's own finding.
export function agree() {
  const film = chosen();
  if (!agreeable(film)) return;
  const finding = film.prediction.decision === "pneumonia" ? "positive" : "negative";
  if (readingOf(film)?.finding !== finding) give(finding);
}

function note(changes) {
  const film = chosen();
  if (!isRead(film)) return;
  read(film, changes);
  changed(film);
}

export function drawFinding() {
  const film = chosen(), reading = film && readingOf(film), can = canBeRead(film) && !film.problem;
  if (said && (said.film !== film || (said.untilShown && isShown()))) say("", film);
  for (const finding of FINDINGS) {
    const button = $(`label-${finding}`);
    button.textContent = labelWord(finding);
    button.disabled = !can;
    button.setAttribute("aria-pressed", String(reading?.finding === finding));
  }
  $("agree").disabled = !agreeable(film);
  if ($("reason").childElementCount !== REASONS.length) put($("reason"), REASONS.map((value) => h("option", { value })));
  for (const option of $("reason").options) option.textContent = t(option.value ? `because.${option.value}` : "reason");
  $("reason").value = reading?.reason ?? "";
  if (document.activeElement !== $("comment")) $("comment").value = reading?.comment ?? "";
  $("reason").disabled = $("comment").disabled = !reading;
  drawPanel();
}

function drawPanel() {
  const counts = countStates(), films = allFilms().length;
  $("label-counts").textContent = films ? t("readCount", { read: count(counts.read), all: count(films) }) : "";
  $("next-unread").disabled = !counts.unread;
  if (document.activeElement !== $("reader")) $("reader").value = readerInUse();
  $("blinded").checked = isBlinded();
  put($("readers"), readerNames().map((value) => h("option", { value })));
  const tells = hidesDecisions(counts); // what others found
  $("csv-labels").disabled = !labelledFilms().length || namesWrong() || tells;
  $("csv-readings").disabled = !anyReading() || tells;
  $("to-adapt").classList.toggle("main", !stillToLabel());
  measureSoon();
}

// What the service is asked to measure: decisions beside what readers found.
function readImages() {
  const paths = new Map(labelledPaths()), patients = patientsOf([...paths.keys()]);
  return allFilms().filter((film) => film.prediction && readingsOf(film).size).map((film) => ({
    path: paths.get(film) ?? film.path,
    patient: patients.get(film) ?? film.stored.patient ?? "",
    sha256: film.sha256,
    decision: film.prediction.decision,
    probability: film.prediction.pneumonia_probability,
    reasons: film.prediction.reasons,
    findings: Object.fromEntries([...readingsOf(film).values()].map(({ reader, finding }) => [reader, finding])),
  }));
}

function measureSoon() {
  const images = readImages(), asked = JSON.stringify(images);
  if (asked === requested) {
    drawFigures();
    return;
  }
  requested = asked;
  clearTimeout(later);
  later = setTimeout(async () => {
    const found = images.length ? await postJson("/v1/readings/measures", { images }).catch((error) => error) : null;
    if (asked !== requested) return;
    [measured, problem] = found instanceof Error ? [null, found] : [found, null];
    drawFigures();
  }, SOON);
}

function drawFigures() {
  const counts = countsInWords(labelCounts().entries());
  if (problem) put($("figures"), h("p", { class: "refused" }, problem.message));
  else if (!measured) put($("figures"), h("p", { class: "soft" }, t("readHint"), offers.adaptations ? ` ${t("readHintAdapts", { fewest: count(FEWEST) })}` : ""));
  // While one reads blinded, how right the detector is would tell what it said.
  else if (hidesDecisions()) put($("figures"), h("p", { class: "soft" }, t("figuresHidden")));
  else put($("figures"), rightHere(), h("p", {}, t("labelsNow", { counts }), " ", measured.undecided ? t("undecidedNow", { count: count(measured.undecided) }) : "", " ", measured.contradictory ? t("differNow", { count: count(measured.contradictory) }) : ""), measured.learnt ? h("p", { class: "soft" }, t("learntNow", { count: count(measured.learnt) })) : null, measured.agreement.map(agreement), adaptHint());
}

// How often the decision is the finding, finding by decision, sensitivity and specificity with their intervals.
function rightHere() {
  const { measures, flow, labelled } = measured;
  if (!labelled) return null;
  const of = (found) => flow[found].normal + flow[found].pneumonia; // those with a decision
  const decided = of("normal") + of("pneumonia"), without = labelled - decided;
  const cell = (found, decision) => [flow[found][decision], found === decision ? "right" : "wrong"];
  const row = (found) => [cell(found, "pneumonia"), cell(found, "normal"), [flow[found].refer + flow[found].outside, "open"], [flow[found].rejected, "open"]];
  const line = (name, found, films, shown) => [h("dt", {}, t(name)), h("dd", {}, found.value == null ? t("unknown") : `${shown(found.value)}${found.low == null ? "" : ` (${shown(found.low)} – ${shown(found.high)})`}`, films == null ? null : h("small", { class: "soft" }, ` ${t("ofFilms", { count: count(films) })}`))];
  return [
    h("p", { class: "right-here" }, t(decided === 1 ? "rightOnOne" : "rightOn", { right: count(flow.normal.normal + flow.pneumonia.pneumonia), decided: count(decided) })),
    h("p", { class: "soft" }, t("findingByDecision")),
    matrixOf(t("findingByDecision"), ["pneumonia", "normal", "refer", "rejected"].map((name) => t(name)), [row("pneumonia"), row("normal")], ["positive", "negative"].map(labelWord)),
    h("dl", { class: "pairs" },
      line("sensitivity", measures.sensitivity, of("pneumonia"), percent), line("specificity", measures.specificity, of("normal"), percent),
      line("auc", measures.auc, null, (value) => decimal(value, 3))),
    h("p", { class: "soft" }, t("withoutDecision", { count: count(without), all: count(labelled) }))];
}

function agreement({ readers, images, same, kappa }) {
  const shown = kappa.value == null ? t("unknown") : `${decimal(kappa.value, 2)}${kappa.low == null ? "" : ` (${decimal(kappa.low, 2)} – ${decimal(kappa.high, 2)})`}`;
  return h("p", {}, t("readersAgree", { first: readers[0], second: readers[1], same: count(same), images: count(images), kappa: shown }));
}

const countsInWords = (counts) => [...counts].map(([place, number]) => `${count(number)} ${labelWord(LABELS[place])}`).join(", ");

// What is lacking for an adaptation, in words; empty where there is enough.
export function stillToLabel() {
  const short = [...labelCounts().entries()].map(([place, number]) => [place, FEWEST - number]).filter(([, lacking]) => lacking > 0);
  return short.length ? t("adaptTooFew", { missing: count(short.reduce((all, [, lacking]) => all + lacking, 0)), parts: countsInWords(short) }) : "";
}

function adaptHint() {
  const lacking = stillToLabel();
  if (lacking) return offers.adaptations ? h("p", { class: "soft" }, lacking) : null;
  return h("p", { class: "soft" }, t("enoughToAdapt"), offers.adaptations ? "" : ` ${t("startAdapting")}`);
}

export const FINDING_KEYS = {
  a: agree, n: () => give("negative"), p: () => give("positive"), d: () => give("undecided"), u: () => give(null),
};
