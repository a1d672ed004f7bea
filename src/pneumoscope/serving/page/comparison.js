// The DICOM node's answers beside the radiologists' reports. The service keeps no report, and this page none beyond its tab.
import { h, put, s, table } from "./dom.js";
import { FEWEST } from "./drift.js";
import { matrixOf, measured } from "./performance.js";
import { postCsv } from "./service.js";
import { count, dateTime, decimal, percent, t } from "./words.js";

const MOST = 200, WIDTH = 900, LEFT = 56, RIGHT = 24;
const MEASURES = ["answered", "sensitivity", "specificity", "accuracy", "sensitivity_of_all", "specificity_of_all", "accuracy_of_all", "auc"];
// As the service reads them, whatever the language of the page.
const FINDINGS = { yes: "pneumonia", no: "normal" };
// The last result: another language, or a look at another part of the page, does not lose it.
let last = null;

const number = (text) => ({ text, class: "number" });
const known = (value, shown) => (value == null ? t("unknown") : shown(value));
const estimate = ({ value, low, high }, shown = percent) => (value == null ? t("unknown") : low == null ? shown(value) : `${shown(value)} (${shown(low)} – ${shown(high)})`);
const share = (fraction) => percent(fraction, 0);
const date = (time) => dateTime(time, { dateStyle: "medium" });

// Form and result, below the node's queue.
export function comparisonPanel() {
  const file = h("input", { type: "file", id: "reports-file", accept: ".csv,text/csv", required: true });
  const words = h("input", { type: "text", id: "reports-words", maxlength: 2000, size: 36, placeholder: t("compareExample", FINDINGS) });
  const go = h("button", { class: "main" }, t("compareGo"));
  const status = h("p", { role: "status" }), result = h("div", { class: "stack", id: "comparison" });

  async function send(event) {
    event.preventDefault();
    go.disabled = true;
    put(status, t("comparing"));
    try {
      last = await postCsv(`/v1/node/comparison?${new URLSearchParams({ class_map: words.value })}`, file.files[0]);
      put(status);
    } catch (error) {
      last = null;
      put(status, h("strong", { class: "refused" }, error.message), error.detail ? h("span", { class: "soft", lang: "en" }, ` ${error.detail}`) : null);
    }
    put(result, last ? drawn(last) : null);
    go.disabled = false;
  }

  put(result, last ? drawn(last) : null);
  return [h("h2", {}, t("compareTitle")), h("p", { class: "soft" }, t("compareText", FINDINGS)),
    h("form", { class: "row compare", onsubmit: send },
      h("label", { for: file.id }, t("compareFile")), file, h("label", { for: words.id }, t("compareWords")), words, go),
    status, result];
}

const card = (title, ...children) => h("section", { class: "card" }, h("h3", {}, t(title)), children);
const pairs = (rows) => h("dl", { class: "pairs" }, rows.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
const warning = (text) => h("p", { class: "warn", role: "note" }, h("strong", {}, t("warning")), " ", text);

function drawn(found) {
  const { measures, agreement } = found;
  return [h("p", {}, h("strong", {}, lead(found))), warnings(found),
    measured([["sensitivity", measures.sensitivity], ["specificity", measures.specificity], ["comparedDecided", measures.answered], ["kappa", agreement.kappa]]),
    h("div", { class: "columns" }, flow(found), figures(found)),
    overTime(found.periods),
    drifted(found.drift),
    h("div", { class: "columns" }, disagreements(found.disagreements), h("div", { class: "stack" }, turnaround(found.turnaround), compared(found)))];
}

function lead({ answers, agreement, compared: studies, patients }) {
  const values = { studies: t(studies === 1 ? "studyOne" : "studySome", { count: count(studies) }), patients: t(patients === 1 ? "patientOne" : "patientSome", { count: count(patients) }), first: date(answers.first), last: date(answers.last), decided: count(agreement.decided), same: count(agreement.same) };
  return t(agreement.decided ? "compareLead" : "compareLeadNone", values);
}

function warnings({ answers, reports }) {
  const named = reports.contradictory.slice(0, 10).map(({ report, lines }) => t("reportLines", { report, lines: lines.join(", ") })).join("; ");
  const bundles = Object.entries(answers.bundles);
  return [
    named ? warning(t("contradictoryReports", { names: named })) : null,
    bundles.length > 1 ? warning(t("severalBundles", { count: count(bundles.length), names: bundles.map(([sha256, images]) => `${sha256.slice(0, 12)} (${count(images)})`).join(", ") })) : null];
}

function flow({ flow: of }) {
  const row = (report) => [[of[report].pneumonia, report === "pneumonia" ? "right" : "wrong"], [of[report].normal, report === "normal" ? "right" : "wrong"], ...["refer", "outside", "rejected"].map((name) => [of[report][name], "open"])];
  return card("compareFlow",
    matrixOf(t("compareFlow"), [...["saysPneumonia", "saysNormal", "nearThreshold", "unlikeValidated", "rejected"].map((name) => t(name))], [row("pneumonia"), row("normal")], [t("reportPneumonia"), t("reportNormal")]),
    h("p", { class: "soft" }, t("compareRule")));
}

function figures({ measures, predictive_values: predictive, reasons }) {
  const rows = MEASURES.map((name) => [t(`measure.${name}`), number(estimate(measures[name], name === "auc" ? (value) => decimal(value, 3) : percent))]);
  return card("compareMeasures",
    table([t("measure"), number(t("compareValue"))], rows, { label: t("compareMeasures") }),
    h("details", {}, h("summary", {}, t("predictiveValues")),
      table([t("prevalence"), number(t("ppvShort")), number(t("npvShort"))], predictive.map(({ prevalence, ppv, npv }) => [percent(prevalence), number(estimate(ppv)), number(estimate(npv))]), { label: t("predictiveValues") })),
    Object.keys(reasons).length ? h("details", {}, h("summary", {}, t("compareReasons")), pairs(Object.entries(reasons).map(([reason, studies]) => [t(`reason.${reason}`), count(studies)]))) : null);
}

// A week keeps its name of ISO 8601, which has no translation.
const when = (period) => (period.includes("W") ? period : dateTime(`${period}-01T00:00:00Z`, { month: "short", year: "numeric" }));

function overTime({ by, rows }) {
  const cells = rows.map((row) => [{ text: when(row.period), class: "period" }, number(count(row.compared)), number(count(row.positive)), ...["answered", "sensitivity", "specificity"].map((name) => number(estimate(row.measures[name])))]);
  const header = [t("receivedIn"), number(t("studies")), number(t("reportPneumonia")), number(t("comparedDecided")), number(t("sensitivity")), number(t("specificity"))];
  return card("compareOverTime",
    h("p", { class: "soft" }, t(by === "week" ? "compareByWeek" : "compareByMonth")),
    rows.length > 1 ? h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": t("compareOverTime") }, picture(rows)) : null,
    h("details", { open: rows.length === 1 }, h("summary", {}, t("asTable")), table(header, cells, { label: t("compareOverTime") })));
}

// A chart for each of both: of two bands in one, one would hide the other.
function picture(rows) {
  const [top, high, gap] = [26, 110, 44];
  const x = (place) => LEFT + (WIDTH - LEFT - RIGHT) * (place + 0.5) / rows.length;
  // As many names of periods as fit, the last among them.
  const every = Math.max(1, Math.ceil(rows.length / 8));
  const charts = [["sensitivity", "pneumonia"], ["specificity", "normal"]].map(([name, kind], chart) => {
    const base = top + high + chart * (high + gap);
    const y = (value) => base - high * value;
    const points = rows.map(({ measures }, place) => ({ ...measures[name], at: x(place) })).filter(({ value }) => value != null);
    const band = [...points.map(({ at, high: end }) => [at, y(end)]), ...points.toReversed().map(({ at, low }) => [at, y(low)])];
    return s("g", { class: kind },
      s("text", { x: LEFT, y: base - high - 10 }, t(name)),
      [0, 0.5, 1].map((value) => [s("path", { class: "axis", d: `M${LEFT} ${y(value)}H${WIDTH - RIGHT}` }), s("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, share(value))]),
      points.length > 1 ? [
        s("path", { d: `M${band.map((point) => point.join(" ")).join("L")}Z`, fill: "currentColor", opacity: 0.16 }),
        s("path", { d: `M${points.map(({ at, value }) => `${at} ${y(value)}`).join("L")}`, fill: "none", stroke: "currentColor", "stroke-width": 2 })]
        : points.map(({ at, low, high: end }) => s("path", { d: `M${at} ${y(low)}V${y(end)}`, stroke: "currentColor", "stroke-width": 2, opacity: 0.5 })),
      points.map(({ at, value }) => s("circle", { cx: at, cy: y(value), r: 3.5, fill: "currentColor" })));
  });
  const bottom = top + 2 * high + gap;
  const names = rows.map(({ period }, place) => ((rows.length - 1 - place) % every ? null : s("text", { x: x(place), y: bottom + 20, "text-anchor": "middle" }, when(period))));
  return s("svg", { class: "timeline", viewBox: `0 0 ${WIDTH} ${bottom + 28}`, role: "img", "aria-label": t("compareOverTime") }, charts, names);
}

function drifted({ period, images, referred, rejected, rejections, probability }) {
  const level = (name) => h("span", { class: `level ${name}` }, t(name));
  const quartiles = probability.quartiles.map((part) => number(part.map((each) => known(each, share)).join(" / ")));
  const index = probability.index == null ? null : h("div", { class: "soft" }, t("driftIndex", { index: decimal(probability.index, 2), chance: decimal(probability.by_chance, 2) }));
  const few = [rejections, probability.level].includes("too_few");
  return card("compareDrift",
    table([t("measure"), number(t("firstHalf")), number(t("lastPeriod", { period: period.split(" to ").map(when).join(" – ") })), t("verdict")], [
      [t("compareImages"), ...images.map((each) => number(count(each))), ""],
      [t("referredShare"), ...referred.map((each) => number(estimate(each))), ""],
      [t("rejectedPart"), ...rejected.map((each) => number(estimate(each))), level(rejections)],
      [t("quartiles"), ...quartiles, h("div", {}, level(probability.level), index)]], { label: t("compareDrift") }),
    h("p", { class: "soft" }, t("compareDriftText"), few ? ` ${t("driftFew", { fewest: count(FEWEST) })}` : ""));
}

function turnaround(of) {
  const seconds = (value) => `${decimal(value, 1)} s`;
  return card("turnaround",
    pairs([
      [t("compareImages"), count(of.images)],
      [t("turnaroundMedian"), known(of.median_s, seconds)],
      [t("turnaroundMost"), known(of.p95_s, seconds)],
      ...(of.unusable ? [[t("clockBack"), count(of.unusable)]] : []),
      ...(of.reports_with_time ? [[t("beforeReport"), t("ofAll", { some: count(of.before_report), all: count(of.reports_with_time) })], [t("hoursToReport"), known(of.median_hours_before_report, (value) => `${decimal(value, 1)} h`)]] : [])]),
    h("p", { class: "soft" }, t("turnaroundText")));
}

function disagreements(rows) {
  const named = (word) => h("span", { class: `decision ${word}` }, t(word));
  return card("disagreements",
    h("p", { class: "soft" }, rows.length ? t("disagreementsText", { count: count(rows.length) }) : t("disagreementsNone"), rows.length > MOST ? ` ${t("disagreementsMore", { most: count(MOST) })}` : ""),
    rows.length ? h("div", { class: "long" }, table([t("accession"), t("nodeSays"), t("radiologistSays")], rows.slice(0, MOST).map(({ accession, decision, report }) => [accession || t("unknown"), named(decision), named(report)]), { label: t("disagreements") })) : null);
}

function compared({ answers, reports, agreement, compared: studies }) {
  const left = (why, images) => [t("leftOut", { why }), count(images)];
  return card("whatWasCompared",
    pairs([
      [t("imagesAnswered"), count(answers.images)],
      ...(answers.superseded ? [[t("supersededAnswers"), count(answers.superseded)]] : []),
      [t("answersSent"), count(answers.sent)],
      [t("withoutReport"), count(answers.unmatched)],
      [t("reportLinesAll"), count(reports.lines)],
      ...Object.entries(reports.unmatched).map(([why, images]) => left(t(`left.${why}`), images)),
      ...Object.entries(reports.other_findings).map(([word, images]) => left(word ? t("leftFinding", { word }) : t("leftNoFinding"), images)),
      [t("studiesCompared"), count(studies)],
      [t("studiesDecided"), count(agreement.decided)],
      [t("studiesSame"), count(agreement.same)]]),
    h("p", { class: "soft" }, t(answers.sent ? "answersSeen" : "answersUnseen"), " ", t("compareTruth")));
}
