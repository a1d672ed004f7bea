// What the header of a DICOM object says of patient and exposure, with what the detector was not validated for.
import { h, mark, put } from "./dom.js";
import { reveal } from "./names.js";
import { count, currentLanguage, day, decimal, t } from "./words.js";

const SEXES = ["F", "M", "O"];

const unit = (value, name) =>
  new Intl.NumberFormat(currentLanguage(), { style: "unit", unit: name, unitDisplay: "long", maximumFractionDigits: 0 }).format(value);

// As paediatricians say it: in months up to two years.
function age(years) {
  if (years >= 2) return unit(Math.floor(years), "year");
  return years * 12 >= 1 ? unit(Math.floor(years * 12), "month") : unit(Math.round(years * 365.25), "day");
}

function rowsOf(film) {
  const { age_years: years, sex, view, body_part: part, modality, taken, manufacturer, bits, spacing, at_detector: atDetector, window } = film.header;
  const distance = spacing && t("millimetres", { value: [...new Set(spacing)].map((each) => decimal(each, 3)).join(" × ") });
  return [
    ["age", years != null && age(years), "outside_age"],
    ["sex", SEXES.includes(sex) ? t(`header.${sex}`) : sex],
    ["view", view, "outside_view"],
    ["bodyPart", part, "outside_body_part"],
    ["modality", modality, "outside_modality"],
    ["taken", taken && day(taken)],
    ["manufacturer", manufacturer],
    ["size", `${count(film.height)} × ${count(film.width)}${bits ? `, ${unit(bits, "bit")}` : ""}`],
    ["spacing", distance && (atDetector ? t("header.atDetector", { distance }) : distance)],
    ["window", window && `W ${decimal(window[1], 0)}  L ${decimal(window[0], 0)}`],
  ];
}

export function drawHeader(node, film, reasons) {
  node.setAttribute("aria-label", t("headerTitle"));
  put(node, h("h2", {}, t("headerTitle")), h("dl", {}, rowsOf(film).flatMap(([name, value, reason]) => {
    const warned = reasons.includes(reason);
    return [h("dt", { class: warned ? "warned" : null }, t(`header.${name}`)),
      h("dd", { class: warned ? "warned" : null }, value ? reveal(value) : h("span", { class: "unknown" }, t("header.unknown")), warned ? [" ", mark("!", t(`reason.${reason}`)), h("p", {}, t(`reason.${reason}`))] : null)];
  })));
}
