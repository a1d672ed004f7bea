// Predictions and readings as tables, and predictions on paper.
import { h, save } from "./dom.js";
import { allFilms, bundleInUse, byName, bySuspicion, DECISIONS, hidesDecisions, labelledFilms, settingsInUse } from "./films.js";
import { classNames, LABELS, labelWord } from "./labels.js";
import { isBlinded, isHidden, readingsOf, referenceOf } from "./readings.js";
import { thumbnail } from "./viewer.js";
import { kindsOf } from "./verdict.js";
import { count, currentLanguage, ownClasses, percent, t } from "./words.js";

const ZONES = ["right_upper", "right_middle", "right_lower", "left_upper", "left_middle", "left_lower", "outside"];
// Pictures on paper: of further films, which are less suspect, the row is enough.
const PICTURES = 60;

// The same columns as `pneumoscope predict --out FILE.csv`.
export function exportCsv() {
  const classes = ownClasses ?? ["normal", "bacterial", "viral"];
  const header = ["file", "sha256", "decision", "reasons", "detail", ownClasses ? "probability" : "pneumonia_probability", ...classes.map((name) => `${name}_probability`),
    "operating_point", "threshold", "sensitivity", "specificity", "fitted_on", "evidence", "bundle_name", "bundle_version", "bundle_sha256", "notice", "validated", ...ZONES.map((name) => `zone_${name}`)];
  const row = (prediction) => [prediction.file, prediction.sha256, prediction.outcome, prediction.reasons.join(";"), prediction.detail,
    prediction.pneumonia_probability, ...classes.map((name) => prediction.class_probability?.[name]), prediction.operating_point.name, prediction.operating_point.threshold,
    prediction.operating_point.sensitivity, prediction.operating_point.specificity, prediction.operating_point.fitted_on, prediction.evidence, prediction.bundle.name, prediction.bundle.version, prediction.bundle.sha256, prediction.notice, prediction.validated, ...ZONES.map((name) => prediction.zones?.[name])];
  // Of a film that the service did not take there is its name, and why.
  const failure = ({ name, problem }) => [name, "", "", "", problem.message, ...header.slice(5).map(() => "")];
  // An image that came under several names has a row for each.
  const rows = allFilms().filter((film) => film.prediction || film.problem)
    .flatMap((film) => (film.problem ? [failure(film)] : [film.name, ...film.copies].map((file) => row({ ...film.prediction, file }))));
  saveTable([header, ...rows], "pneumoscope.csv");
}

function saveTable(rows, name) {
  // A cell that begins like a formula would be run by a spreadsheet.
  const cell = (value) => {
    const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value ?? "");
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  save(new Blob([`${rows.map((values) => values.map(cell).join(",")).join("\n")}\n`], { type: "text/csv" }), name);
}

// Paths relative to the folder that all were dropped with, in which the table is to lie.
export function relative(paths) {
  const [folder] = paths[0].split("/");
  const inside = paths.every((each) => each.startsWith(`${folder}/`));
  // A path that begins like a formula is the same path with ./ before it.
  return (inside ? paths.map((each) => each.slice(folder.length + 1)) : paths).map((each) => (/^[=+\-@\t\r ']/.test(each) ? `./${each}` : each));
}

// Films with a label, and the path that each has in the table of labels.
export function labelledPaths() {
  const films = labelledFilms();
  return films.length ? relative(films.map((film) => film.path)).map((path, place) => [films[place], path]) : [];
}

// A table that `pneumoscope evaluate --data` and `adapt --data` read where it lies in the folder of the films.
export function exportLabels() {
  const names = classNames(), rows = labelledPaths(), patients = patientsOf(rows.map(([film]) => film)), named = [...patients.values()].some(Boolean);
  const twice = rows.find(([, path], index) => rows.findIndex(([, other]) => other === path) < index);
  if (twice) {
    document.getElementById("announcement").textContent = t("samePath", { path: twice[1] });
    alert(t("samePath", { path: twice[1] }));
    return;
  }
  saveTable([["path", "class", ...(named ? ["patient"] : [])],
    ...rows.map(([film, path]) => [path, names[LABELS.indexOf(referenceOf(film))], ...(named ? [patients.get(film)] : [])])], "labels.csv");
}

// Patient of each film, empty where it is not known. Where all films name one they are anonymous (data/patients.py).
export function patientsOf(films) {
  const keys = films.map((film) => film.stored?.patient).filter(Boolean), anonymous = keys.length > 1 && new Set(keys).size === 1;
  return new Map(films.map((film) => [film, anonymous ? "" : film.stored?.patient ?? ""]));
}

// Every finding of every reader.
export function exportReadings() {
  const names = classNames();
  const rows = allFilms().flatMap((film) => [...readingsOf(film).values()].map((reading) => [film.path, film.sha256, reading.reader,
    names[LABELS.indexOf(reading.finding)] ?? reading.finding, reading.reason, reading.comment, reading.blinded, reading.time, film.prediction?.outcome, film.prediction?.pneumonia_probability]));
  saveTable([["path", "sha256", "reader", "finding", "reason", "comment", "blinded", "time", "decision", "probability"], ...rows], "readings.csv");
}

// Pictures of the films that come first on paper; one that cannot be drawn is left out.
async function fetchPictures(films) {
  await Promise.all(films.slice(0, PICTURES).map(async (film) => {
    if (film.picture === undefined && film.prediction?.reasons[0] !== "unreadable") film.picture = await thumbnail(film, 240).catch(() => null);
  }));
}

// In a blinded reading the order would tell the decisions.
const onPaper = () => allFilms().filter((film) => film.prediction || film.problem).sort(hidesDecisions() ? byName : bySuspicion);

// The report that is printed, whoever asks for it: the button, or the browser's own print command with the pictures at hand.
function drawReport() {
  const node = document.getElementById("report"), films = onPaper();
  const point = settingsInUse().point, bundle = bundleInUse(), found = bundle.operating_points[point];
  // While one reads blinded, paper has no findings beside decisions.
  const readers = isBlinded() ? 0 : new Set(films.flatMap((film) => [...readingsOf(film).keys()])).size;
  const columns = ["film", "file", "decision", "probability", ...(readers ? ["findingShort"] : []), "why"];
  const parts = DECISIONS.map((name) => [name, films.filter(({ prediction }) => prediction?.decision === name).length])
    .filter(([, number]) => number).map(([name, number]) => `${count(number)} ${t(name)}`).join(", ");
  node.replaceChildren(
    h("h1", {}, `pneumoscope: ${t("reportTitle")}`),
    h("p", { class: "warn" }, t("notice")),
    h("p", {}, `${hidesDecisions() ? t("decisionsHidden") : t("reportCount", { count: count(films.length), parts })} ${new Date().toLocaleString(currentLanguage())}`),
    h("p", {}, h("small", {}, t("at", { name: t(point), sensitivity: percent(found.sensitivity), specificity: percent(found.specificity), films: bundle.fitted_on }))),
    h("table", {},
      h("thead", {}, h("tr", {}, columns.map((name) => h("th", {}, t(name))))),
      h("tbody", {}, films.map((film) => reportRow(film, readers)))),
    h("p", {}, h("small", {}, `${bundle.name} ${bundle.version}, ${bundle.sha256}`)));
  node.hidden = false;
}

// Findings of the readers of a film; where the list has one reader alone, the name says nothing.
const findingsOf = (film, readers) => [...readingsOf(film).values()].map(({ reader, finding }) =>
  h("div", {}, readers > 1 ? t("findingOf", { reader, label: labelWord(finding) }) : labelWord(finding)));

function reportRow(film, readers) {
  const { problem, name, picture } = film, prediction = isHidden(film) ? null : film.prediction;
  const image = h("td", {}, picture ? h("img", { src: picture, alt: "" }) : "");
  const found = readers ? h("td", {}, findingsOf(film, readers)) : null;
  if (!prediction) return h("tr", {}, image, h("td", {}, name), h("td", {}, h("strong", {}, t(problem ? "failed" : "unread"))), h("td", {}, t("unknown")), found, h("td", {}, problem?.message ?? ""));
  const why = [...prediction.reasons.map((reason) => t(`reason.${reason}`)), prediction.decision === "pneumonia" ? kindsOf(prediction) : ""];
  return h("tr", {}, image,
    h("td", {}, name, h("br"), h("small", {}, prediction.sha256.slice(0, 16))),
    h("td", {}, h("strong", {}, t(prediction.decision))),
    h("td", {}, prediction.pneumonia_probability == null ? t("unknown") : percent(prediction.pneumonia_probability)),
    found,
    h("td", {}, why.filter(Boolean).join(" ")));
}

export async function printReport() {
  await fetchPictures(onPaper());
  drawReport();
  await Promise.all([...document.querySelectorAll("#report img")].map((image) => image.decode().catch(() => {})));
  window.print();
}

window.addEventListener("beforeprint", () => bundleInUse() && allFilms().length && drawReport());
