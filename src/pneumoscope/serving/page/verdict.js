// What the detector says of a film: decision, probability beside its thresholds, reasons, lung zones, and by which bundle.
import { h, put, s } from "./dom.js";
import { isHidden, markOpened } from "./readings.js";
import { detailInWords } from "./plain.js";
import { evidenceOf } from "./viewer.js";
import { percent, t } from "./words.js";

export function drawVerdict(node, film, redraw) {
  const prediction = film?.prediction;
  if (prediction && isHidden(film)) {
    put(node, h("p", { class: "soft" }, t("hidden")));
    return;
  }
  if (!prediction) {
    put(node, h("p", { class: "soft" }, film?.problem?.message ?? (film ? t("waiting") : "")));
    return;
  }
  markOpened(film);
  const { operating_point: point, pneumonia_probability: probability } = prediction;
  const hasProbability = probability != null;
  const kinds = kindsOf(prediction);
  put(node,
    h("div", { class: "top" },
      h("span", { class: `decision ${prediction.decision}` }, t(prediction.decision)),
      hasProbability ? h("span", { class: "chance" }, `${t("chanceIs", { value: percent(probability) })}${prediction.validated ? "" : ` (${t("notValidated")})`}`) : null,
      prediction.decision === "refer" ? h("span", {}, t("referAdvice")) : null),
    hasProbability ? meter(prediction, true) : null,
    prediction.reasons.map((reason) => h("p", {}, t(`reason.${reason}`), " ", h("code", { class: "soft" }, reason))),
    prediction.detail ? h("p", { class: "soft" }, detailInWords(prediction)) : null,
    hasProbability && kinds && prediction.decision !== "normal" ? h("p", { class: "weak" }, t("weak", { kinds })) : null,
    hasProbability && prediction.decision !== "normal" ? zonesOf(film, redraw) : null,
    hasProbability ? h("p", { class: "weak" }, t("at", {
      name: t(point.name), sensitivity: percent(point.sensitivity), specificity: percent(point.specificity) })) : null,
    h("p", { class: "ids" }, t("predictedBy", { name: prediction.bundle.name, version: prediction.bundle.version, bundle: prediction.bundle.sha256.slice(0, 12), file: prediction.sha256.slice(0, 12) })));
}

// The probability as a bar, with the threshold and the band that is referred.
export function meter(prediction, labelled = false) {
  const { threshold, refer_from: from, refer_to: to } = prediction.operating_point;
  const at = 100 * threshold, words = t("threshold", { value: percent(threshold) });
  return h("div", { class: "meter", role: "img", "aria-label": t("meterSaid", { value: percent(prediction.pneumonia_probability), threshold: words, band: t("referBand", { from: percent(from), to: percent(to) }) }) },
    s("svg", { "aria-hidden": "true", class: prediction.decision },
      s("rect", { class: "band", x: `${100 * from}%`, y: 0, height: "100%", width: `${100 * (to - from)}%` }),
      s("rect", { x: 0, y: 0, height: "100%", width: `${100 * prediction.pneumonia_probability}%`, rx: 3, fill: "currentColor" }),
      s("line", { x1: `${at}%`, x2: `${at}%`, y1: -3, y2: "100%", stroke: "var(--text)", "stroke-width": 2 }),
      s("line", { x1: `${at}%`, x2: `${at}%`, y1: "100%", y2: "150%", stroke: "var(--text)", "stroke-width": 2 }),
      labelled ? s("text", { x: `${at}%`, y: 27, "text-anchor": at > 75 ? "end" : at < 25 ? "start" : "middle" }, words) : null));
}

// Of a pneumonia, by kind, in shares of the pneumonia.
export function kindsOf(prediction) {
  const found = Object.entries(prediction.class_probability ?? {}).slice(1);
  if (found.length < 2) return ""; // of two classes, the second is no kind
  const sum = found.reduce((all, [, value]) => all + value, 0);
  return sum ? found.map(([name, value]) => `${t(name)} ${percent(value / sum, 0)}`).join(", ") : "";
}

// Lung zones with at least 20 % of the evidence, as `inference/zones.py` names them; requested when a film is first shown.
function zonesOf(film, redraw) {
  if (film.zones === undefined) {
    const request = evidenceOf(film);
    request.then(({ zones }) => {
      if (film.evidence !== request) return; // of the bundle before
      film.zones = zones;
      redraw();
    }, () => {});
    return h("p", { class: "soft" }, t("zonesWait"));
  }
  if (!film.zones) return h("p", {}, t("notPlaced"));
  const named = Object.entries(film.zones).filter(([, share]) => share >= 0.2).sort(([, a], [, b]) => b - a);
  const words = named.map(([name, share]) => `${t(`zone.${name}`)} ${percent(share, 0)}`).join(", ");
  return h("p", {}, t("zones", { zones: words || t("noZone") }));
}
