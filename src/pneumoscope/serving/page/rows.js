// A row of the list: picture, name, decision, label, and the probability as a bar.
import { h, mark, put } from "./dom.js";
import { labelWord } from "./labels.js";
import { reveal } from "./names.js";
import { isHidden, readingOf } from "./readings.js";
import { meter } from "./verdict.js";
import { thumbnail } from "./viewer.js";
import { count, percent, t } from "./words.js";

export function fillRow(node, film, { chosen, pinned, pick, retry, redraw }) {
  const { problem, copies } = film, hidden = isHidden(film);
  const prediction = hidden ? null : film.prediction;
  const probability = prediction?.pneumonia_probability, finding = readingOf(film)?.finding;
  const state = prediction ? ["decision", prediction.decision] : problem ? ["failed", "failed"] : hidden && film.prediction ? ["waiting", "unread"] : ["waiting", "waiting"];
  put(node,
    h("button", { type: "button", "data-film": film.id, "aria-current": String(chosen), onclick: () => pick(film) },
      picture(film, redraw),
      h("span", { class: pinned ? "file pin" : "file", title: [film.path, ...copies].map(reveal).join("\n") }, film.name, copies.length ? h("span", { class: "soft" }, ` (${t("files", { count: count(copies.length + 1) })})`) : null),
      h("span", { class: "said" },
        h("span", { class: state[0] === "decision" ? state.join(" ") : state[0] }, t(state[1])),
        finding ? h("span", { class: `label ${finding}` }, h("span", { class: "unseen" }, t("labelOf"), " "), labelWord(finding)) : null),
      h("span", {}, probability != null && !prediction.validated ? mark("!", t("notValidated")) : null,
        h("span", { class: "chance" }, probability == null ? "" : percent(probability))),
      probability == null ? h("small", { class: "soft" }, prediction ? t(`reason.${prediction.reasons[0]}`) : problem?.message ?? "") : meter(prediction)),
    problem ? h("button", { type: "button", class: "retry", onclick: () => retry(film) }, t("retry")) : null);
}

function picture(film, redraw) {
  const image = h("img", { class: "thumb", alt: "", width: 52, height: 52, decoding: "async" });
  if (film.thumb) image.src = film.thumb;
  else if (film.file && /\.(jpe?g|png)$/i.test(film.name)) image.src = film.thumb = URL.createObjectURL(film.file);
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
