// Decisions over time, from the history: how many of each kind, and the shares without a decision.
import { h, put, s, table } from "./dom.js";
import { getJson, lastOnly } from "./service.js";
import { count, dateTime, ownClasses, percent, t } from "./words.js";

const PERIODS = { day: 30, hour: 48 };
// From the bottom of a bar to its top.
const KINDS = ["pneumonia", "normal", "refer", "rejected", "other"];
const WIDTH = 900, LEFT = 48, RIGHT = 24;
let step = "day";
const drawing = lastOnly();

// Decision on record to its kind: a site's own classes stand as normal and pneumonia, those of another bundle as other ones.
function kindOf(decision) {
  const place = (ownClasses ?? ["normal", "pneumonia"]).indexOf(decision);
  return ["normal", "pneumonia"][place] ?? (["refer", "rejected"].includes(decision) ? decision : "other");
}

function counted({ start, decisions }) {
  const numbers = Object.fromEntries(KINDS.map((kind) => [kind, 0]));
  for (const [decision, number] of Object.entries(decisions)) numbers[kindOf(decision)] += number;
  return { start, numbers, films: KINDS.reduce((all, kind) => all + numbers[kind], 0) };
}

export async function drawTimeline(node) {
  const isLast = drawing(), { periods } = await getJson(`/v1/history/timeline?step=${step}&periods=${PERIODS[step]}`);
  if (!isLast()) return; // periods of a step that was chosen before
  const found = periods.map(counted);
  const films = found.reduce((all, period) => all + period.films, 0);
  const buttons = Object.keys(PERIODS).map((name) => h("button", {
    type: "button", "data-step": name, "aria-pressed": String(name === step),
    onclick: async () => {
      step = name;
      await drawTimeline(node);
      if (step === name) node.querySelector(`[data-step=${name}]`).focus();
    } }, t(name === "day" ? "byDay" : "byHour")));
  put(node, h("h2", {}, t("timelineTitle")), h("div", { class: "presets" }, buttons),
    films ? drawn(found, films) : h("p", { class: "soft" }, t(`none.${step}`, { periods: count(PERIODS[step]) })));
  // On a phone, the present first.
  for (const region of node.querySelectorAll(".wide")) region.scrollLeft = region.scrollWidth;
}

const named = (kind) => (kind === "other" ? t("otherClasses") : t(kind));
const share = (period, kind) => period.numbers[kind] / period.films;

function drawn(found, films) {
  const sum = (kind) => found.reduce((all, period) => all + period.numbers[kind], 0);
  const said = t("timelineSaid", { films: count(films), referred: percent(sum("refer") / films), rejected: percent(sum("rejected") / films) });
  const shown = KINDS.filter((kind) => sum(kind));
  const number = (text) => ({ text, class: "number" });
  const rows = found.filter((period) => period.films).reverse().map((period) =>
    [{ text: when(period.start, true), class: "period" }, ...shown.map((kind) => number(count(period.numbers[kind]))), number(percent(share(period, "refer"))), number(percent(share(period, "rejected")))]);
  return h("div", { class: "card" },
    h("p", {}, said, " ", h("span", { class: "legend-row" }, shown.map((kind) => h("span", { class: `decision ${kind}` }, named(kind))))),
    h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": t("timelineTitle") }, picture(found, shown, said)),
    h("details", {}, h("summary", {}, t("asTable")),
      table([t("period"), ...shown.map((kind) => number(named(kind))), number(t("referredShare")), number(t("rejectedPart"))], rows, { label: t("timelineTitle") })));
}

const when = (start, whole = false) => dateTime(start, step === "day" ? { day: "numeric", month: "short" } : whole ? { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" } : { hour: "2-digit", minute: "2-digit" });

// Bars of counts above, lines of the two shares below; one column a period.
function picture(found, shown, said) {
  const [top, high, gap, low] = [24, 130, 36, 80];
  const most = niceAbove(Math.max(...found.map((period) => period.films)));
  const column = (WIDTH - LEFT - RIGHT) / found.length;
  const x = (place) => LEFT + place * column;
  const y = (number) => top + high * (1 - number / most);
  const base = top + high + gap + low;
  const greatest = Math.max(...found.filter((period) => period.films).flatMap((period) => [share(period, "refer"), share(period, "rejected")]));
  const full = [0.1, 0.25, 0.5, 1].find((each) => each >= greatest);
  const yShare = (value) => base - low * value / full;
  const every = step === "day" ? 5 : 6;
  const grid = (at, text) => [s("path", { class: "axis", d: `M${LEFT} ${at}H${WIDTH - RIGHT}` }), s("text", { x: LEFT - 6, y: at + 4, "text-anchor": "end" }, text)];
  const title = (at, name) => s("text", { x: LEFT, y: at }, t(name));
  return s("svg", { class: "timeline", viewBox: `0 0 ${WIDTH} ${base + 24}`, role: "img", "aria-label": said },
    title(top - 10, "filmsAxis"), title(top + high + gap - 10, "shareAxis"),
    grid(y(most), count(most)), grid(y(0), count(0)), grid(yShare(full), percent(full, 0)), grid(yShare(0), percent(0, 0)),
    found.map((period, place) => bars(period, shown, x(place), column, y)),
    ["refer", "rejected"].filter((kind) => shown.includes(kind)).map((kind) => line(found, kind, (place) => x(place) + column / 2, yShare)),
    found.map(({ start }, place) => ((found.length - 1 - place) % every ? null : s("text", { x: x(place) + column / 2, y: base + 18, "text-anchor": "middle" }, when(start)))));
}

function bars(period, shown, left, column, y) {
  let under = 0;
  return shown.map((kind) => {
    const number = period.numbers[kind];
    under += number;
    return number ? s("rect", { class: kind, fill: "currentColor", x: left + 0.14 * column, width: 0.72 * column, y: y(under), height: y(0) - y(number) }) : null;
  });
}

// A point for each period with films; referred ones a rhomb, rejected ones a square, as elsewhere on the page.
function line(found, kind, x, y) {
  const points = found.map((period, place) => (period.films ? [x(place), y(share(period, kind))] : null)).filter(Boolean);
  const turned = (px, py) => (kind === "refer" ? `rotate(45 ${px} ${py})` : null);
  return s("g", { class: kind },
    s("path", { d: `M${points.map((point) => point.join(" ")).join("L")}`, fill: "none", stroke: "currentColor", "stroke-width": 1.5, "stroke-dasharray": kind === "rejected" ? "4 3" : null }),
    points.map(([px, py]) => s("rect", { x: px - 3, y: py - 3, width: 6, height: 6, fill: "currentColor", transform: turned(px, py) })));
}

// The least of 1, 2, 5, 10, 20 … that is not below a number.
function niceAbove(number) {
  for (let power = 1; ; power *= 10) {
    const found = [1, 2, 5].find((digit) => digit * power >= number);
    if (found) return found * power;
  }
}
