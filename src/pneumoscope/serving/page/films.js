// Films of the worklist and what is known of each: the one state from which list, filters, verdict, print and exports are drawn.
import { decided } from "./decide.js";
import { LABELS } from "./labels.js";
import { reveal } from "./names.js";
import { isBlinded, isRead, readersDiffer, referenceOf } from "./readings.js";

export const DECISIONS = ["pneumonia", "refer", "normal", "rejected"];
// In the order of the list: what failed is to be seen before what still waits.
const STATES = [...DECISIONS, "failed", "waiting"];

let films = [];
let ordered = null;
let next = 0;
let bundle = null;
let settings = { point: "balanced", prevalence: 0.5 };
let filter = "all", wanted = "", order = "suspicion";
let onChange = () => {};

export const watchFilms = (act) => (onChange = act);
export const allFilms = () => films;
export const bundleInUse = () => bundle;
export const settingsInUse = () => settings;
export const filterInUse = () => filter;
export const orderInUse = () => (orderNames().includes(order) ? order : BLIND[0]);

// What a film has is drawn anew when its version has changed: at once for what a person does, soon for what arrives.
export function changed(film = null, atOnce = true) {
  if (film) film.version += 1;
  ordered = null;
  onChange(atOnce);
}

// Whether two films are one file. To ask a file for its size and date takes a while: those of one path alone are asked.
const sameFile = (a, b) => a.file && b.file && a.file.size === b.file.size && a.file.lastModified === b.file.lastModified;

// Adds films, but for files that are in the list already; `stored` is a prediction that is known of before.
export function addFilms(found) {
  const hashes = new Set(films.map(({ sha256 }) => sha256).filter(Boolean)), paths = new Map(films.flatMap(({ path, file, same }) => [{ path, file }, ...same].map((each) => [each.path, each])));
  const isKnown = (each) => hashes.has(each.stored?.sha256) || (paths.has(each.path) && (each.pacs || sameFile(paths.get(each.path), each)));
  const added = found.filter((each) => !isKnown(each)).map(({ id, file, name, path, copies = [], stored = null, pacs = null, sent = null }) => ({
    id: id ?? (next = Math.max(next + 1, 1000 * Date.now())), // unlike those of a page beside this one
    file, name: reveal(name), path, copies, version: 0,
    same: [], // { path, file } of what turned out to be this image
    pacs, // image of the PACS that it is; null for other films
    sent, // what became of answers that were sent
    stored, // prediction as the service gave it
    prediction: null, // the same at the operating point and the prevalence in use
    problem: null,
    sha256: stored?.sha256 ?? "",
  }));
  for (const film of added) if (storedOf(film)) film.prediction = decided(film.stored, bundle, settings.point, settings.prevalence);
  films.push(...added);
  changed();
  return added;
}

// A prediction of another bundle is none of this one's, and one at another prevalence not what the page asks for.
function storedOf(film) {
  const point = film.stored?.operating_point, threshold = bundle.operating_points[point?.name]?.threshold;
  if (film.stored?.bundle.sha256 !== bundle.sha256 || !(Math.abs(threshold - point.threshold) < 1e-6)) film.stored = null;
  return film.stored;
}

export function forgetFilm(film) {
  films = films.filter((each) => each !== film);
  changed();
}

export function forgetAll() {
  films = [];
  changed();
}

// What a film has of the file that it came as.
const IDENTITY = ["id", "file", "name", "path", "stored"];

// Sets what the service said of a film. The same image under another name is one film: gives the one that stays, which is that of
// the file that was added first, whichever was answered first.
export function settle(film, stored, problem = null) {
  const first = stored?.sha256 && films.find((each) => each !== film && each.sha256 === stored.sha256);
  if (first) {
    films = films.filter((each) => each !== film);
    film.stored = stored;
    first.stored ??= stored;
    // What is on the stage stays there: it gets the identity of the other one.
    if (film.id < first.id) for (const key of IDENTITY) [first[key], film[key]] = [film[key], first[key]];
    Object.assign(first, { problem: null, prediction: decided(first.stored, bundle, settings.point, settings.prevalence) });
    first.copies = [...new Set([...first.copies, film.name])].filter((name) => name !== first.name).sort();
    first.same.push({ path: film.path, file: film.file }, ...film.same);
    first.pacs ??= film.pacs;
    changed(first, false);
    return first;
  }
  if (stored) film.sha256 = stored.sha256;
  Object.assign(film, { stored, problem, prediction: stored && decided(stored, bundle, settings.point, settings.prevalence) });
  changed(film, false);
  return film;
}

export function useSettings(point, prevalence) {
  settings = { point, prevalence };
  for (const film of films) {
    if (film.stored) film.prediction = decided(film.stored, bundle, point, prevalence);
    film.version += 1;
  }
  changed();
}

export function useFilmsWith(inUse) {
  bundle = inUse;
  for (const film of films) Object.assign(film, { stored: null, prediction: null, problem: null, evidence: null, zones: undefined, version: film.version + 1 });
  changed();
}

export function useFilter(name) {
  filter = name;
  changed();
}

export function useSearch(text) {
  wanted = text.trim().toLowerCase();
  changed();
}

export function useOrder(name) {
  order = name;
  changed();
}

export const stateOf = (film) => film.prediction?.decision ?? (film.problem ? "failed" : "waiting");
const chanceOf = (film) => film.prediction?.pneumonia_probability ?? -1;
export const bySuspicion = (a, b) => STATES.indexOf(stateOf(a)) - STATES.indexOf(stateOf(b)) || chanceOf(b) - chanceOf(a) || a.id - b.id;
export const byName = (a, b) => a.path.localeCompare(b.path, undefined, { numeric: true }) || a.id - b.id;

export const ORDERS = {
  suspicion: bySuspicion,
  unread: (a, b) => isRead(a) - isRead(b) || bySuspicion(a, b),
  probability: (a, b) => chanceOf(b) - chanceOf(a) || a.id - b.id,
  name: byName,
  added: (a, b) => a.id - b.id,
};
// Orders that show nothing of what the detector says of films, as a blinded reading needs them.
const BLIND = ["name", "added"];
export const orderNames = () => (isBlinded() ? BLIND : Object.keys(ORDERS));

// Whether a film has a decision that is not the finding its readers share.
function disagrees(film) {
  const meant = { normal: "negative", pneumonia: "positive" }[film.prediction?.decision], found = referenceOf(film);
  return Boolean(meant) && LABELS.includes(found) && found !== meant;
}

// Filters beside those of the decisions, which a blinded reading does not have.
// A film that was not analysed has no hash, by which readings are kept.
const READ = { unread: (film) => Boolean(film.sha256) && !isRead(film), read: isRead, differ: readersDiffer, disagrees };
export const filterNames = () => {
  const counts = countStates();
  const some = (name) => counts[name] || filter === name;
  if (isBlinded()) return ["all", "unread", "read", ...(!hidesDecisions(counts) && some("disagrees") ? ["disagrees"] : [])]; // it tells of decisions
  return ["all", ...DECISIONS, ...(some("failed") ? ["failed"] : []), ...(counts.read ? ["unread"] : []), ...["differ", "disagrees"].filter(some)];
};

const named = ({ path, copies, sha256 }) => [path, ...copies, sha256].some((text) => text.toLowerCase().includes(wanted));

// Films that search and filter let through, in the order of the list.
export function visibleFilms() {
  if (ordered) return ordered;
  const name = filterNames().includes(filter) ? filter : "all";
  const passes = READ[name] ?? ((film) => name === "all" || stateOf(film) === name);
  return (ordered = films.filter((film) => passes(film) && (!wanted || named(film))).sort(ORDERS[orderInUse()]));
}

export function countStates() {
  const counts = Object.fromEntries([...STATES, ...Object.keys(READ)].map((name) => [name, 0]));
  for (const film of films) {
    counts[stateOf(film)] += 1;
    for (const [name, test] of Object.entries(READ)) counts[name] += test(film);
  }
  return counts;
}

// Whether what the detector said stays hidden: in a blinded reading until every film of the list is read, those on their way included.
export const hidesDecisions = (counts = countStates()) => isBlinded() && counts.unread + counts.waiting > 0;

// Films with a finding that their readers share, negative or positive; none that the service could not take.
export const labelledFilms = () => films.filter((film) => !film.problem && ["negative", "positive"].includes(referenceOf(film)));
// Their numbers, of the negative and of the positive class.
export const labelCounts = () => LABELS.map((label) => labelledFilms().filter((film) => referenceOf(film) === label).length);
export const unlabelledCount = () => films.filter((film) => !film.problem).length - labelledFilms().length;
