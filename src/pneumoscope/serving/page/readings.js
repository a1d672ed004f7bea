// Findings of readers, by the hash of the image: a film that comes again is known as read.
import { stored as kept } from "./browser.js";
import { t } from "./words.js";

export const FINDINGS = ["negative", "positive", "undecided"];
const WITHDRAWN = "withdrawn";
export const REASONS = ["", "image_quality", "positioning", "subtle", "other_disease", "clinical_information"];

// SHA-256 to reader to reading, as the service keeps it.
const readings = new Map();
// Until a name is given, one that no other browser has: two people must not be one reader.
const automatic = kept.get("automaticReader") || `${t("reader")} ${crypto.getRandomValues(new Uint16Array(1))[0].toString(16).padStart(4, "0")}`;
kept.set("automaticReader", automatic);
let reader = kept.get("reader") || automatic;
// Reader and hash of films whose decision was open before a finding.
const opened = new Set();
let blinded = kept.get("blinded") === "yes";
let onChange = () => {};

// Called with a reading that was given, changed or withdrawn.
export const watchReadings = (act) => (onChange = act);
export const readerInUse = () => reader;
export const isBlinded = () => blinded;
const standing = () => allReadings().filter(({ finding }) => finding !== WITHDRAWN);
export const readerNames = () => [...new Set([...standing().map((reading) => reading.reader), reader])].sort();

// Another reader goes on; whoever has read without a name so far is the one who gives it.
export function useReader(name) {
  const before = reader;
  reader = name.trim().slice(0, 60) || reader;
  kept.set("reader", reader);
  if (before === automatic && reader !== automatic) move(automatic, reader);
}

// Corrects the name of the reader in use, with all readings under it; false where another reader has the name.
export function renameReader(name) {
  const before = reader, wanted = name.trim().slice(0, 60);
  if (!wanted || (wanted !== before && readerNames().includes(wanted))) return false;
  useReader(wanted);
  if (wanted !== before) move(before, wanted);
  return true;
}

function move(from, to) {
  for (const reading of standing().filter((each) => each.reader === from)) {
    keep({ ...reading, reader: to }, Date.parse(reading.time));
    keep({ ...reading, finding: WITHDRAWN, reason: "", comment: "" });
  }
}

export const markOpened = (film) => void opened.add(`${film.sha256} ${reader}`);

export function useBlinded(on) {
  blinded = on;
  kept.set("blinded", on ? "yes" : "no");
}

export const canBeRead = (film) => Boolean(film?.sha256);
// Reader to reading of a film. Withdrawn ones are kept as such, or another machine would give them back.
export const readingsOf = (film) => new Map([...(readings.get(film.sha256) ?? [])].filter(([, { finding }]) => finding !== WITHDRAWN));
export function readingOf(film) {
  const reading = readings.get(film.sha256)?.get(reader);
  return reading && reading.finding !== WITHDRAWN ? reading : null;
}
export const isRead = (film) => readingOf(film) !== null;
// In a blinded reading what the detector says is shown after the reader's own finding.
export const isHidden = (film) => blinded && !isRead(film);

// What all readers of a film find: its label; null where nobody has read it, or they differ.
export function referenceOf(film) {
  const found = new Set([...readingsOf(film).values()].map(({ finding }) => finding));
  return found.size === 1 ? [...found][0] : null;
}
export const readersDiffer = (film) => new Set([...readingsOf(film).values()].map(({ finding }) => finding)).size > 1;

// Gives or changes the finding of the reader in use; what the detector said was hidden until the first one in a blinded reading.
export function read(film, changes) {
  const before = readingOf(film);
  const reading = { reason: "", comment: "", ...before, ...changes, sha256: film.sha256, reader };
  // A finding that is changed, or given again, after the detector's was shown is no blinded one.
  const isFirst = !readings.get(film.sha256)?.has(reader) && !opened.has(`${film.sha256} ${reader}`);
  if (changes.finding && changes.finding !== before?.finding) reading.blinded = isFirst && isHidden(film);
  if (reading.finding) keep(reading);
}

export function withdraw(film) {
  const reading = readingOf(film);
  if (reading) keep({ ...reading, finding: WITHDRAWN, reason: "", comment: "" });
}

function keep(given, time = Date.now()) {
  // Later than what it replaces, though that may be of a machine whose clock is ahead.
  const before = Date.parse(readings.get(given.sha256)?.get(given.reader)?.time ?? 0);
  const reading = { ...given, time: new Date(Math.max(time, before + 1)).toISOString() };
  take(reading);
  onChange(reading);
}

// A reading from elsewhere: from this browser's storage, or from the service. The later one of a reader stays.
export function take(reading) {
  const found = readings.get(reading.sha256) ?? new Map();
  if (found.get(reading.reader)?.time > reading.time) return false;
  readings.set(reading.sha256, found.set(reading.reader, reading));
  return true;
}

// Whether none has replaced it, here or elsewhere.
export const isLatest = ({ sha256, reader, time }) => readings.get(sha256)?.get(reader)?.time === time;

export const allReadings = () => [...readings.values()].flatMap((found) => [...found.values()]);
export const anyReading = () => standing().length > 0;

export const forgetReadings = () => readings.clear();
