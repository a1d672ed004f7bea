// Findings of readers, by the hash of the image: a film that comes again is known as read.
import { currentTime, stored as kept } from "./browser.js";

export const FINDINGS = ["negative", "positive", "undecided"];
export const REASONS = ["", "image_quality", "positioning", "subtle", "other_disease", "clinical_information"];

// SHA-256 to reader to reading, as the service keeps it.
const readings = new Map();
let reader = kept.get("reader") || "Reader 1";
let blinded = kept.get("blinded") === "yes";
let onChange = () => {};

// Called with a reading that was given, or with one that was withdrawn and null.
export const watchReadings = (act) => (onChange = act);
export const readerInUse = () => reader;
export const isBlinded = () => blinded;
export const readerNames = () => [...new Set([...[...readings.values()].flatMap((found) => [...found.keys()]), reader])].sort();

export function useReader(name) {
  reader = name.trim().slice(0, 60) || reader;
  kept.set("reader", reader);
}

export function useBlinded(on) {
  blinded = on;
  kept.set("blinded", on ? "yes" : "no");
}

export const canBeRead = (film) => Boolean(film?.sha256);
export const readingsOf = (film) => readings.get(film.sha256) ?? new Map();
export const readingOf = (film) => readingsOf(film).get(reader) ?? null;
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
  const reading = { reason: "", comment: "", ...before, ...changes, sha256: film.sha256, reader, time: currentTime() };
  // A finding that is changed after the detector's was shown is no blinded one.
  if (!before || changes.finding) reading.blinded = isHidden(film) || (before?.finding === changes.finding && before.blinded);
  if (reading.finding) keep(reading);
}

export function withdraw(film) {
  const reading = readingOf(film);
  if (!reading) return;
  readings.get(reading.sha256).delete(reader);
  onChange(reading, null);
}

function keep(reading) {
  take(reading);
  onChange(reading, reading);
}

// A reading from elsewhere: from this browser's storage, or from the service. The later one of a reader stays.
export function take(reading) {
  const found = readings.get(reading.sha256) ?? new Map();
  if (found.get(reading.reader)?.time > reading.time) return false;
  readings.set(reading.sha256, found.set(reading.reader, reading));
  return true;
}

export const allReadings = () => [...readings.values()].flatMap((found) => [...found.values()]);

export const forgetReadings = () => readings.clear();
