// How good is it: what was measured, and what follows for a place with this prevalence.
import { chart, h, put, s, table } from "./dom.js";
import { inWords } from "./plain.js";
import { count, decimal, ofSite, percent, t } from "./words.js";

const estimate = (found, digits = 1) => percent(found.value, digits);
const interval = (found) => `${decimal(100 * found.low, 1)} – ${percent(found.high)}`;
const number = (text) => ({ text, class: "number" });
const detectorName = (bundle) => t("detectorNamed", { name: `${bundle.name} ${bundle.version}` });
export const plain = (value) => decimal(value, 3);
const tile = (name, value, more) => h("div", { class: "tile" }, h("div", {}, t(name)), h("div", { class: "value" }, value), h("div", { class: "interval" }, more));

// Tiles of measures with their intervals; an area under the curve and a kappa are no shares.
export const measured = (found) => h("div", { class: "tiles" }, found.map(([name, { value, low, high }]) => {
  const shown = { auc: plain, kappa: (number) => decimal(number, 2) }[name] ?? percent;
  return value == null ? tile(name, t("unknown"), "") : tile(name, shown(value), low == null ? "" : `${shown(low)} – ${shown(high)}`);
}));

export function drawPerformance(node, bundle, known) {
  const own = known.detector;
  node.replaceChildren(h("h1", {}, t("perfTitle")));
  if (!own) {
    drawFitted(node, bundle, known.site);
    // The study's networks were measured on other images.
    if (!ofSite) node.append(beside(known.study, null, ""));
    return;
  }
  const { measures } = own;
  const found = [["accuracy", measures.binary_accuracy], ["sensitivity", measures.sensitivity], ["specificity", measures.specificity], ["auc", measures.auc], ["threeClass", measures.accuracy]];
  node.append(
    h("p", {}, t("perfLead", { title: detectorName(bundle), films: count(own.films), patients: count(own.patients), normal: count(own.normal), pneumonia: count(own.pneumonia) })),
    measured(found),
    h("p", { class: "soft" }, t("tilesLead"), " ", t("shift")));
  drawMovable(node, bundle, own);
  drawBoth(node, bundle, own);
  node.append(beside(known.study, own, detectorName(bundle)));
}

// What an operating point had on the films that it was fitted on, beside what it has on the test films: two quantities of one name.
function drawBoth(node, bundle, own) {
  const on = (name, films) => number(t(name, { films: t(films) }));
  const rows = Object.entries(bundle.operating_points).map(([name, { sensitivity, specificity }]) => {
    const found = own.points[name];
    return [t(name), number(percent(sensitivity)), number(percent(specificity)),
      ...[found.sensitivity, found.specificity, found.referred].map((each) => number(`${estimate(each)} (${interval(each)})`))];
  });
  node.append(h("h2", {}, t("bothTitle")), h("p", { class: "soft" }, t("bothText")),
    table([t("operatingPoint"), on("sensitivityOn", "asFitted"), on("specificityOn", "asFitted"), on("sensitivityOn", "asMeasured"), on("specificityOn", "asMeasured"), on("referredOn", "asMeasured")], rows, { label: t("bothTitle") }),
    validationFilms(bundle));
}

const validationFilms = (bundle) => h("p", { class: "soft" }, t("validationFilms"), " ", inWords(bundle.fitted_on));

function drawFitted(node, bundle, site) {
  if (site) drawSite(node, site);
  node.append(h("p", {}, t("perfNone")), table(
    [t("operatingPoint"), number(t("sensitivity")), number(t("specificity"))],
    Object.entries(bundle.operating_points).map(([name, point]) => [t(name), number(percent(point.sensitivity)), number(percent(point.specificity))]),
    { label: t("operatingPoint") }), validationFilms(bundle), h("p", { class: "soft" }, t("shift")));
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

// Of how many of a site's films sensitivity and specificity are.
export function decidedOf({ films, acceptance }) {
  const share = acceptance.measures.answered.value;
  return t("decidedOnly", { decided: count(Math.round(share * films)), films: count(films), share: percent(share) });
}

// A bundle adapted to a site: what cross-validation on the site's films gave.
function drawSite(node, site) {
  const pairs = [["verdict", siteVerdict(site)], ["moreFilms", moreFilms(site.learning_curve)]];
  const warning = acquisitionWarning(site.acquisition);
  node.append(
    h("p", {}, t("perfSite", { films: count(site.films), patients: count(site.patients) }), ` ${patientsWarning(site)}`),
    warning ? h("p", { class: "warn", role: "note" }, h("strong", {}, t("warning")), " ", warning) : "",
    measured(["auc", "sensitivity", "specificity"].map((name) => [name, site.cross_validated[name]])),
    h("p", { class: "soft" }, decidedOf(site)),
    h("dl", { class: "pairs" }, pairs.flatMap(([name, value]) => [h("dt", {}, t(name)), h("dd", {}, value)])));
}

// The slider, and everything that moves with it. At an operating point its own threshold counts, not the nearest of the slider.
function drawMovable(node, bundle, own) {
  const state = { at: 0, point: "balanced", prevalence: 0.2 };
  const nearest = (name) => Math.round(100 * own.points[name].threshold);
  const threshold = h("input", { type: "range", id: "move-threshold", min: 0, max: 100, step: 1 });
  const prevalence = h("input", { type: "range", id: "move-prevalence", min: 1, max: 99, step: 1 });
  const [thresholdShown, prevalenceShown] = [h("output", { for: "move-threshold" }), h("output", { for: "move-prevalence" })];
  const [values, rates, matrix, referral] = [h("div", { class: "tiles" }), h("div", { class: "tiles" }), h("div"), h("div", { class: "card across" })];
  const words = h("p", { role: "status" });
  const dot = s("circle", { class: "dot", r: 6 });
  const presets = Object.keys(own.points).map((name) =>
    h("button", { type: "button", "data-point": name, onclick: () => update({ point: name }) }, t(name)));

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
    if (state.point) state.at = nearest(state.point);
    const found = state.point ? own.points[state.point] : own.curve[state.at];
    const { value: sensitivity } = found.sensitivity;
    const { value: specificity } = found.specificity;
    const share = state.prevalence;
    const [hits, alarms] = [share * sensitivity, (1 - share) * (1 - specificity)];
    const [calm, missed] = [(1 - share) * specificity, share * (1 - sensitivity)];
    threshold.value = state.at;
    prevalence.value = 100 * share;
    thresholdShown.textContent = percent(found.threshold, state.point ? 1 : 0);
    prevalenceShown.textContent = percent(share, 0);
    for (const button of presets) button.setAttribute("aria-pressed", String(button.dataset.point === state.point));
    const known = (value) => (Number.isFinite(value) ? percent(value) : t("unknown"));
    put(values, tile("ppv", known(hits / (hits + alarms)), ""), tile("npv", known(calm / (calm + missed)), ""));
    put(rates, tile("sensitivity", known(sensitivity), interval(found.sensitivity)), tile("specificity", known(specificity), interval(found.specificity)));
    const ofThousand = (fraction) => count(Math.round(1000 * fraction));
    words.textContent = t("thousand", { ill: ofThousand(share), found: ofThousand(hits), missed: ofThousand(missed), well: ofThousand(1 - share), alarm: ofThousand(alarms) });
    put(matrix, matrixOf(t("matrixTitle"), [t("saysPneumonia"), t("saysNormal")], [
      [[found.true_positive, "right"], [found.false_negative, "wrong"]], [[found.false_positive, "wrong"], [found.true_negative, "right"]]]));
    put(referral, h("h3", {}, t("referTitle")), referred(own, state.point));
    place(found);
  }
  threshold.addEventListener("input", () => update({ at: Number(threshold.value), point: null }));
  prevalence.addEventListener("input", () => update({ prevalence: prevalence.value / 100 }));

  node.append(
    h("h2", {}, t("moveTitle")),
    h("div", { class: "movable" },
      h("div", { class: "card" }, h("div", { class: "presets" }, presets),
        h("div", { class: "slider" }, h("label", { for: "move-threshold" }, t("moveThreshold")), threshold, thresholdShown),
        h("div", { class: "slider" }, h("label", { for: "move-prevalence" }, t("movePrevalence")), prevalence, prevalenceShown),
        values, words, h("p", { class: "soft" }, t("moveLead"))),
      h("div", { class: "card" }, h("h3", {}, t("rocTitle")), roc),
      h("div", { class: "card" }, h("h3", {}, t("calibrationTitle")), calibration, h("p", { class: "soft" }, t("calibrationText"))),
      h("div", { class: "card" }, h("h3", {}, t("matrixTitle")), rates, matrix, h("p", { class: "soft" }, t("matrixText", { films: count(own.films) }))),
      referral));
  update({});
}

// Counts of films, those with pneumonia first; a cell is its number and its class.
export function matrixOf(label, columns, rows, names = [t("isPneumonia"), t("isNormal")]) {
  return h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": label },
    h("table", { class: "matrix" },
      h("thead", {}, h("tr", {}, h("td", { class: "corner" }), columns.map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, rows.map((row, place) => h("tr", {}, h("th", { scope: "row" }, names[place]), row.map(([value, kind]) => h("td", { class: kind }, count(value))))))));
}

// What the worklist does with the test films at an operating point: doubtful ones get no decision.
function referred(own, point) {
  if (!point) return h("p", { class: "soft" }, t("referBetween"));
  const { referred: share, accuracy_of_answered: right } = own.points[point];
  const tiles = [tile("referredFilms", estimate(share), interval(share)), tile("decidedRight", estimate(right), interval(right))];
  if (point !== "balanced") return [h("div", { class: "tiles" }, tiles), h("p", { class: "soft" }, t("referText")), h("p", { class: "soft" }, t("referBalanced"))];
  const { flow, sensitivity, specificity } = own.balanced;
  const row = (truth) => [[flow[truth].pneumonia, truth === "pneumonia" ? "right" : "wrong"], [flow[truth].normal, truth === "normal" ? "right" : "wrong"], [flow[truth].refer, "open"], [flow[truth].outside, "open"]];
  return [
    h("div", { class: "tiles" }, tiles, tile("sensitivityDecided", estimate(sensitivity), interval(sensitivity)), tile("specificityDecided", estimate(specificity), interval(specificity))),
    matrixOf(t("referTitle"), ["saysPneumonia", "saysNormal", "nearThreshold", "unlikeValidated"].map((name) => t(name)), [row("pneumonia"), row("normal")]),
    h("p", { class: "soft" }, t("referText"))];
}

function beside(study, own, name) {
  const spread = (found) => `${percent(found.mean)} ± ${decimal(100 * found.standard_deviation, 1)}`;
  const rows = study.map((network) => [t(`network.${network.name}`), number(spread(network.binary_accuracy)), number(spread(network.sensitivity)), number(spread(network.specificity)), number(`${plain(network.auc.mean)} ± ${plain(network.auc.standard_deviation)}`)]);
  if (own) {
    const { measures } = own;
    rows.push({ attributes: { class: "own" }, cells: [name, ...[measures.binary_accuracy, measures.sensitivity, measures.specificity].map((found) => number(`${estimate(found)} (${interval(found)})`)), number(`${plain(measures.auc.value)} (${plain(measures.auc.low)} – ${plain(measures.auc.high)})`)] });
  }
  return h("div", {}, h("h2", {}, t("besideTitle")), h("p", { class: "soft" }, t("besideText", { seeds: study[0]?.seeds })),
    table([t("network"), number(t("accuracy")), number(t("sensitivity")), number(t("specificity")), number("AUC")], rows, { label: t("besideTitle") }));
}
