// How good is it: what was measured, and what follows for a place with this prevalence.
import { chart, h, s, table } from "./dom.js";
import { count, decimal, ofSite, percent, t } from "./words.js";

const estimate = (found, digits = 1) => percent(found.value, digits);
const interval = (found) => `${percent(found.low)} – ${percent(found.high)}`;
export const plain = (value) => decimal(value, 3);
const tile = (name, value, more) => h("div", { class: "tile" }, h("div", {}, t(name)), h("div", { class: "value" }, value), h("div", { class: "interval" }, more));

// Tiles of measures with their intervals; an area under the curve is no share.
export const measured = (found) => h("div", { class: "tiles" }, found.map(([name, { value, low, high }]) => {
  const shown = name === "auc" ? plain : percent;
  return value == null ? tile(name, t("unknown"), "") : tile(name, shown(value), `${shown(low)} – ${shown(high)}`);
}));

export function drawPerformance(node, bundle, known) {
  const own = known.detector;
  node.replaceChildren(h("h1", {}, t("perfTitle")));
  if (!own) {
    drawFitted(node, bundle, known.site);
    // The study's networks were measured on other images.
    if (!ofSite) node.append(beside(known.study, null));
    return;
  }
  const { measures } = own;
  const found = [["accuracy", measures.binary_accuracy], ["sensitivity", measures.sensitivity], ["specificity", measures.specificity], ["auc", measures.auc], ["threeClass", measures.accuracy]];
  node.append(
    h("p", {}, t("perfLead", { title: own.title, films: count(own.films), patients: count(own.patients), normal: count(own.normal), pneumonia: count(own.pneumonia) })),
    measured(found),
    h("p", { class: "soft" }, t("shift")));
  drawMovable(node, bundle, own);
  node.append(beside(known.study, own));
}

function drawFitted(node, bundle, site) {
  if (site) drawSite(node, site);
  node.append(h("p", {}, t("perfNone", { films: bundle.fitted_on })), table(
    [t("operatingPoint"), { text: t("sensitivity"), class: "number" }, { text: t("specificity"), class: "number" }],
    Object.entries(bundle.operating_points).map(([name, point]) => [t(name), { text: percent(point.sensitivity), class: "number" }, { text: percent(point.specificity), class: "number" }]),
    { label: t("operatingPoint") }), h("p", { class: "soft" }, t("shift")));
}

// Sentences about an adaptation, from its figures; bundles of before have only the service's own words.
export function siteVerdict(site) {
  const { value, low, high } = site.cross_validated.auc;
  const shown = { auc: plain(value), low: plain(low), high: plain(high) };
  if (site.made === undefined) return site.verdict;
  return site.made ? t("made", { method: t(`method.${site.method}`), ...shown }) : t("notMade", shown);
}

export function moreFilms({ points, more_would_help: helps, answer }) {
  if (helps === undefined) return answer;
  if (helps === null) return t("helpUnknown");
  const [before, last] = points.slice(-2);
  const gain = last.auc - before.auc;
  return t(helps ? "helpYes" : "helpNo", { first: count(before.images), last: count(last.images), gain: `${gain < 0 ? "−" : "+"}${plain(Math.abs(gain))}` });
}

export function acquisitionWarning({ warning, properties, proven, together, within }) {
  if (!warning) return "";
  const strength = (name) => Math.abs(properties[name].value - 0.5);
  const [strongest] = [...proven].sort((a, b) => strength(b) - strength(a));
  const kind = strongest && (/^(sex|view)(?= )/.exec(strongest) ?? [strongest])[0];
  const alike = within ? t("amongAlike", { auc: decimal(within.value, 2), low: decimal(within.low, 2), high: decimal(within.high, 2) }) : t("fewAlike");
  const alone = strongest ? t("filesTellAlone", { property: t(`property.${kind}`), auc: decimal(0.5 + strength(strongest), 2) }) : "";
  return t("filesTell", { alone, together: decimal(together.value, 2), alike });
}

export const patientsWarning = (site) => (site.patients_known ? "" : t("patientsUnknown"));

// A bundle adapted to a site: what cross-validation on the site's films gave.
function drawSite(node, site) {
  const pairs = [["verdict", siteVerdict(site)], ["moreFilms", moreFilms(site.learning_curve)]];
  const warning = acquisitionWarning(site.acquisition);
  node.append(
    h("p", {}, t("perfSite", { films: count(site.films), patients: count(site.patients) }), ` ${patientsWarning(site)}`),
    warning ? h("p", { class: "warn", role: "note" }, h("strong", {}, t("warning")), " ", warning) : "",
    measured(["auc", "sensitivity", "specificity"].map((name) => [name, site.cross_validated[name]])),
    h("p", { class: "soft" }, t("decidedOnly", { share: percent(site.acceptance.measures.answered.value) })),
    h("dl", { class: "pairs" }, pairs.flatMap(([name, value]) => [h("dt", {}, t(name)), h("dd", {}, value)])));
}

// The slider, and everything that moves with it.
function drawMovable(node, bundle, own) {
  const state = { at: 0, prevalence: 0.2 };
  const nearest = (threshold) => Math.round(100 * threshold);
  state.at = nearest(bundle.operating_points.balanced.threshold);
  const threshold = h("input", { type: "range", id: "move-threshold", min: 0, max: 100, step: 1 });
  const prevalence = h("input", { type: "range", id: "move-prevalence", min: 1, max: 99, step: 1 });
  const [thresholdShown, prevalenceShown] = [h("output", { for: "move-threshold" }), h("output", { for: "move-prevalence" })];
  const live = h("div", { class: "tiles" });
  const words = h("p", { role: "status" });
  const matrix = h("div");
  const dot = s("circle", { class: "dot", r: 6 });
  const presets = h("div", { class: "presets" }, Object.entries(bundle.operating_points).map(([name, point]) =>
    h("button", { type: "button", onclick: () => update({ at: nearest(point.threshold) }) }, t(name))));

  let place = null;
  const roc = chart(t("rocTitle"), t("falseAlarms"), t("foundShare"), (x, y) => {
    place = (found) => {
      dot.setAttribute("cx", x(1 - found.specificity.value));
      dot.setAttribute("cy", y(found.sensitivity.value));
    };
    const path = own.curve.map((point) => `${x(1 - point.specificity.value)} ${y(point.sensitivity.value)}`).join("L");
    return [s("path", { class: "even", d: `M${x(0)} ${y(0)}L${x(1)} ${y(1)}` }), s("path", { class: "curve", d: `M${path}` }), dot];
  });
  const calibration = chart(t("calibrationTitle"), t("givenProbability"), t("had"), (x, y) => [
    s("path", { class: "even", d: `M${x(0)} ${y(0)}L${x(1)} ${y(1)}` }),
    s("path", { class: "curve", d: `M${own.calibration.map(([given, had]) => `${x(given)} ${y(had)}`).join("L")}` }),
    own.calibration.map(([given, had, films]) => s("circle", { class: "bin", cx: x(given), cy: y(had), r: 2 + Math.sqrt(films) / 3 })),
  ]);

  function update(next) {
    Object.assign(state, next);
    const found = own.curve[state.at];
    const { value: sensitivity } = found.sensitivity;
    const { value: specificity } = found.specificity;
    const share = state.prevalence;
    const [hits, alarms] = [share * sensitivity, (1 - share) * (1 - specificity)];
    const [calm, missed] = [(1 - share) * specificity, share * (1 - sensitivity)];
    threshold.value = state.at;
    prevalence.value = 100 * share;
    thresholdShown.textContent = percent(found.threshold, 0);
    prevalenceShown.textContent = percent(share, 0);
    const known = (value) => (Number.isFinite(value) ? percent(value) : t("unknown"));
    live.replaceChildren(
      tile("sensitivity", known(sensitivity), interval(found.sensitivity)), tile("specificity", known(specificity), interval(found.specificity)),
      tile("ppv", known(hits / (hits + alarms)), ""), tile("npv", known(calm / (calm + missed)), ""));
    const ofThousand = (fraction) => count(Math.round(1000 * fraction));
    words.textContent = t("thousand", { ill: ofThousand(share), found: ofThousand(hits), missed: ofThousand(missed), well: ofThousand(1 - share), alarm: ofThousand(alarms) });
    const cell = (value, kind) => h("td", { class: kind }, count(value));
    matrix.replaceChildren(h("table", { class: "matrix" },
      h("thead", {}, h("tr", {}, h("td", { class: "corner" }), h("th", { scope: "col" }, t("saysPneumonia")), h("th", { scope: "col" }, t("saysNormal")))),
      h("tbody", {},
        h("tr", {}, h("th", { scope: "row" }, t("isPneumonia")), cell(found.true_positive, "right"), cell(found.false_negative, "wrong")),
        h("tr", {}, h("th", { scope: "row" }, t("isNormal")), cell(found.false_positive, "wrong"), cell(found.true_negative, "right")))));
    place(found);
  }
  threshold.addEventListener("input", () => update({ at: Number(threshold.value) }));
  prevalence.addEventListener("input", () => update({ prevalence: prevalence.value / 100 }));

  node.append(
    h("h2", {}, t("moveTitle")),
    h("div", { class: "columns" },
      h("div", { class: "stack" },
        h("div", { class: "card" }, presets,
          h("div", { class: "slider" }, h("label", { for: "move-threshold" }, t("moveThreshold")), threshold, thresholdShown),
          h("div", { class: "slider" }, h("label", { for: "move-prevalence" }, t("movePrevalence")), prevalence, prevalenceShown),
          live, words),
        h("div", { class: "card" }, h("h3", {}, t("matrixTitle")), matrix)),
      h("div", { class: "card" }, h("h3", {}, t("rocTitle")), roc),
      h("div", { class: "card" }, h("h3", {}, t("calibrationTitle")), calibration, h("p", { class: "soft" }, t("calibrationText")))));
  update({});
}

function beside(study, own) {
  const number = (text) => ({ text, class: "number" });
  const spread = (found) => `${percent(found.mean)} ± ${decimal(100 * found.standard_deviation, 1)}`;
  const rows = study.map((network) => [network.title, number(spread(network.binary_accuracy)), number(spread(network.sensitivity)), number(spread(network.specificity)), number(`${plain(network.auc.mean)} ± ${plain(network.auc.standard_deviation)}`)]);
  if (own) {
    const { measures } = own;
    rows.push({ attributes: { class: "own" }, cells: [own.title, ...[measures.binary_accuracy, measures.sensitivity, measures.specificity].map((found) => number(`${estimate(found)} (${interval(found)})`)), number(`${plain(measures.auc.value)} (${plain(measures.auc.low)} – ${plain(measures.auc.high)})`)] });
  }
  return h("div", {}, h("h2", {}, t("besideTitle")), h("p", { class: "soft" }, t("besideText", { seeds: study[0]?.seeds })),
    table([t("network"), number(t("accuracy")), number(t("sensitivity")), number(t("specificity")), number("AUC")], rows, { label: t("besideTitle") }));
}
