// Have the films changed, and what was decided lately.
import { h, mark, put, s, table } from "./dom.js";
import { FEWEST, statWord, worst } from "./drift.js";
import { hidesDecisions } from "./films.js";
import { reveal } from "./names.js";
import { drawNode } from "./node.js";
import { getJson, history, lastOnly, offers, remove } from "./service.js";
import { drawTimeline } from "./timeline.js";
import { count, dateTime, decimal, decisionWord, percent, t } from "./words.js";

const number = (text) => ({ text, class: "number" });

export async function drawWatch(node, isLast) {
  if (hidesDecisions()) put(node); // what was drawn before has decisions
  const drift = await getJson("/v1/drift");
  if (!isLast()) return;
  put(node, h("h1", {}, t("watchTitle")), drift.rejected_reference == null ? h("p", {}, t("watchNone")) : verdicts(drift));
  const [pacs, timeline, kept] = [h("div"), h("div"), h("div")];
  node.append(pacs, timeline, kept);
  const hidden = hidesDecisions();
  if (!hidden) await drawNode(pacs);
  if (!isLast()) return;
  kept.append(h("h2", {}, t("historyTitle")));
  if (hidden) {
    kept.append(h("p", { class: "soft" }, t("decisionsHidden")));
    return;
  }
  if ((await drawHistory(kept)) && isLast()) await drawTimeline(timeline);
}

const verdict = (level) => h("span", { class: `level ${level}` }, t(level));
const advice = (name, level) => (["steady", "too_few"].includes(level) ? t(`do.${level}`) : `${t(`do.${name}`)}${level === "drifted" ? ` ${t("do.drifted")}${offers.adaptations ? "" : ` ${t("startAdapting")}`}` : ""}`);

function verdicts(drift) {
  const { level, names } = worst(drift);
  const share = drift.rejected_share;
  const now = share ? t("rejectedNow", { share: percent(share[0]), low: percent(share[1]), high: percent(share[2]), reference: percent(drift.rejected_reference) }) : t("unknown");
  const rows = Object.entries(drift.statistics).map(([name, moved]) =>
    [statWord(name), verdict(moved.drift), { text: advice(name, moved.drift), class: "advice" }, bars(moved), number(decimal(moved.index, 3)), number(decimal(moved.by_chance, 3))]);
  rows.push([statWord("rejected"), verdict(drift.rejections), { text: advice("rejected", drift.rejections), class: "advice" }, now, number(""), number("")]);
  return [
    h("p", { class: `warn ${level}`, role: "note" }, verdict(level), " ", t(`all.${level}`, { names, fewest: count(FEWEST) })),
    h("p", { class: "soft" }, t("watchLead", { images: count(drift.images), rejected: count(drift.rejected) })),
    table([t("statistic"), t("verdict"), t("whatToDo"), t("lastFilms"), number(t("index")), number(t("byChance"))], rows, { label: t("watchTitle") })];
}

// Bins of the reference hold a tenth each: level bars mean that nothing has moved.
function bars(moved) {
  const most = Math.max(...moved.share, ...moved.reference, 0.2);
  const height = (share) => (34 * share) / most;
  return s("svg", { viewBox: "0 0 200 36", width: 200, height: 36, role: "img", "aria-label": moved.share.map((share) => percent(share, 0)).join(", ") },
    moved.share.map((share, place) => s("rect", { x: 20 * place + 2, y: 35 - height(share), width: 16, height: height(share), fill: "var(--accent)", opacity: 0.75 })),
    s("path", { d: moved.reference.map((share, place) => `${place ? "L" : "M"}${20 * place} ${35 - height(share)}H${20 * place + 20}`).join(""), stroke: "var(--text)", fill: "none" }));
}

// Whether there is a history.
async function drawHistory(node) {
  const list = h("div");
  const input = h("input", { type: "search", id: "history-text" });
  const select = h("select", { "aria-label": t("filter") }, ["", "pneumonia", "refer", "normal", "rejected"].map((name) => h("option", { value: name }, name ? t(name) : t("all"))));
  const more = h("button", { type: "button", hidden: true }, t("more"));
  const searching = lastOnly();
  let oldest = null;
  const rows = [];

  async function search(before = null) {
    const isLast = searching();
    const query = new URLSearchParams({ text: input.value, limit: 50 });
    if (select.value) query.set("decision", select.value);
    if (before != null) query.set("before", before);
    const entries = await history(query);
    if (!isLast()) return; // another was begun since
    if (before == null) rows.length = 0;
    oldest = entries.at(-1)?.id;
    more.hidden = entries.length < 50;
    rows.push(...entries);
    list.replaceChildren(rows.length ? table([t("time"), t("file"), t("decision"), number(t("probability")), ""], rows.map(row), { label: t("historyTitle") }) : h("p", { class: "soft" }, t("historyEmpty")));
  }

  const row = ({ id, time, prediction }) => [dateTime(time, { dateStyle: "medium", timeStyle: "medium" }), reveal(prediction.file) || prediction.sha256.slice(0, 16),
    h("span", { class: `decision ${prediction.decision}` }, decisionWord(prediction)),
    number(prediction.pneumonia_probability == null ? t("unknown")
      : [prediction.validated === false ? mark("!", t("notValidated")) : null, percent(prediction.pneumonia_probability)]),
    h("button", { type: "button", onclick: () => confirm(t("reallyOne")) && remove(`/v1/history/${id}`).then(() => search()) }, t("deleteOne"))];

  try {
    await search();
  } catch (error) {
    node.append(h("p", { class: "soft" }, error.code === "history_off" ? t("historyOff") : error.message));
    return false;
  }
  more.addEventListener("click", () => search(oldest));
  select.addEventListener("change", () => search());
  const form = h("form", { class: "row", role: "search", onsubmit: (event) => { event.preventDefault(); search(); } },
    h("label", { for: "history-text" }, t("search")), input, select, h("button", {}, t("searchGo")),
    h("button", { type: "button", onclick: () => confirm(t("really")) && remove("/v1/history").then(() => search()) }, t("deleteAll")));
  node.append(form, list, more);
  return true;
}
