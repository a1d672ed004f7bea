// A row of the list: picture, name, decision, label, and the probability as a bar.
import { h, mark, put } from "./dom.js";
import { labelWord } from "./labels.js";
import { reveal } from "./names.js";
import { meter } from "./verdict.js";
import { thumbnail } from "./viewer.js";
import { percent, t } from "./words.js";

export function fillRow(node, film, { chosen, pinned, pick, retry, redraw }) {
  const { prediction, problem } = film;
  const probability = prediction?.pneumonia_probability;
  put(node,
    h("button", { type: "button", "data-film": film.id, "aria-current": String(chosen), onclick: () => pick(film) },
      picture(film, redraw),
      h("span", { class: pinned ? "file pin" : "file", title: reveal(film.path) }, film.name),
      h("span", { class: "said" },
        prediction ? h("span", { class: `decision ${prediction.decision}` }, t(prediction.decision)) : h("span", { class: problem ? "failed" : "waiting" }, problem ? t("failed") : t("waiting")),
        film.label ? h("span", { class: `label ${film.label}` }, h("span", { class: "unseen" }, t("labelOf"), " "), labelWord(film.label)) : null),
      h("span", {}, probability != null && !prediction.validated ? mark("!", t("notValidated")) : null,
        h("span", { class: "chance" }, probability == null ? "" : percent(probability))),
      probability == null ? h("small", { class: "soft" }, prediction ? t(`reason.${prediction.reasons[0]}`) : problem?.message ?? "") : meter(prediction)),
    problem ? h("button", { type: "button", class: "retry", onclick: () => retry(film) }, t("retry")) : null);
}

function picture(film, redraw) {
  const image = h("img", { class: "thumb", alt: "", width: 52, height: 52, decoding: "async" });
  if (film.thumb) image.src = film.thumb;
  else if (/\.(jpe?g|png)$/i.test(film.name)) image.src = film.thumb = URL.createObjectURL(film.file);
  else if (film.prediction && !film.thumbRequested && !["unreadable", "unsupported_dicom"].includes(film.prediction.reasons[0])) {
    film.thumbRequested = true;
    thumbnail(film, 104).then((url) => {
      film.thumb = url;
      redraw();
    }, () => {});
  }
  const none = () => h("span", { class: "thumb", "aria-hidden": "true" });
  if (!image.src) return none();
  image.addEventListener("error", () => image.replaceWith(none()));
  return image;
}
