// Other films of the patient whose film is chosen, to be opened beside it.
import { h, put } from "./dom.js";
import { count, day, t } from "./words.js";

// Films that are offered; of more than these, such as those of an archive where all have one identifier, the number is enough.
const OFFERED = 8;

// The latest first; films without a date last.
export function othersOf(film, films) {
  const patient = film?.prediction?.patient;
  if (!patient) return [];
  const takenOf = (other) => other.prediction.taken ?? "";
  return films.filter((other) => other !== film && other.prediction?.patient === patient)
    .sort((a, b) => takenOf(b).localeCompare(takenOf(a)) || a.name.localeCompare(b.name));
}

export function drawOthers(node, others, beside, open) {
  node.hidden = !others.length;
  const name = (film) => (film.prediction.taken ? `${day(film.prediction.taken)} · ${film.name}` : film.name);
  put(node, others.length ? h("span", {}, t(others.length === 1 ? "otherFilm" : "otherFilms", { count: count(others.length) })) : null,
    others.slice(0, OFFERED).map((film) => h("button", { type: "button", title: t("openBeside"), "aria-pressed": String(film === beside), onclick: () => open(film) }, name(film))));
}
