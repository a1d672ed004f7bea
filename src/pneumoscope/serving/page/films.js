// Films of the worklist and what is known of each: the one state from which list, filters, verdict, print and exports are drawn.
import { decided } from "./decide.js";
import { reveal } from "./names.js";

export const DECISIONS = ["pneumonia", "refer", "normal", "rejected"];
// In the order of the list: what failed is to be seen before what still waits.
const STATES = [...DECISIONS, "failed", "waiting"];

let films = [];
let ordered = null;
let next = 0;
let bundle = null;
let settings = { point: "balanced", prevalence: 0.5 };
let filter = "all";
let onChange = () => {};

export const watchFilms = (act) => (onChange = act);
export const allFilms = () => films;
export const bundleInUse = () => bundle;
export const settingsInUse = () => settings;
export const filterInUse = () => filter;

// What a film has is drawn anew when its version has changed: at once for what a person does, soon for what arrives.
export function changed(film = null, atOnce = true) {
  if (film) film.version += 1;
  ordered = null;
  onChange(atOnce);
}

export function addFilms(files, pathOf) {
  const added = files.map((file) => ({
    id: next++, file, name: reveal(file.name), path: pathOf(file), version: 0,
    stored: null, // prediction as the service gave it
    prediction: null, // the same at the operating point and the prevalence in use
    problem: null, label: null,
  }));
  films.push(...added);
  changed();
  return added;
}

export function forgetAll() {
  films = [];
  changed();
}

export function settle(film, stored, problem = null) {
  Object.assign(film, { stored, problem, prediction: stored && decided(stored, bundle, settings.point, settings.prevalence) });
  changed(film, false);
}

export function useSettings(point, prevalence) {
  settings = { point, prevalence };
  for (const film of films) {
    if (film.stored) film.prediction = decided(film.stored, bundle, point, prevalence);
    film.version += 1;
  }
  changed();
}

// Predictions of another bundle are none of this one's.
export function useFilmsWith(inUse) {
  bundle = inUse;
  for (const film of films) Object.assign(film, { stored: null, prediction: null, problem: null, version: film.version + 1 });
  changed();
}

export function useFilter(name) {
  filter = name;
  changed();
}

export const stateOf = (film) => film.prediction?.decision ?? (film.problem ? "failed" : "waiting");
const chanceOf = (film) => film.prediction?.pneumonia_probability ?? -1;
export const byUrgency = (a, b) => STATES.indexOf(stateOf(a)) - STATES.indexOf(stateOf(b)) || chanceOf(b) - chanceOf(a) || a.id - b.id;

// Films that the filter lets through, in the order of the list.
export const visibleFilms = () => (ordered ??= films.filter((film) => filter === "all" || stateOf(film) === filter).sort(byUrgency));

export function countStates() {
  const counts = Object.fromEntries(STATES.map((name) => [name, 0]));
  for (const film of films) counts[stateOf(film)] += 1;
  return counts;
}

// Films that a person has labelled; none that the service could not take.
export const labelledFilms = () => films.filter((film) => film.label && !film.problem);
export const unlabelledCount = () => films.filter((film) => !film.label && !film.problem).length;

// Names of films that are the same image with two labels, else null.
export function contradiction() {
  const first = new Map();
  for (const film of labelledFilms()) {
    const other = film.stored && first.get(film.stored.sha256);
    if (other && other.label !== film.label) return [other.name, film.name];
    if (film.stored && !other) first.set(film.stored.sha256, film);
  }
  return null;
}
