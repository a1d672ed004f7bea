// Lines that measure a film: in mm where the header tells the distance of its pixels, else in pixels.
import { s } from "./dom.js";
import { decimal, t } from "./words.js";

// An end within so many CSS pixels is taken hold of.
const NEAR = 12;
// Half of the strokes at the ends, CSS pixels.
const STROKE = 7;
// Films to their lines, each [end, other end] in pixels of the film, the latest last.
const lines = new WeakMap();

export function linesOf(item) {
  if (!lines.has(item)) lines.set(item, []);
  return lines.get(item);
}

export function lengthOf([a, b], film) {
  const { spacing, at_detector: atDetector } = film.header ?? {};
  if (!spacing) return t("pixels", { value: decimal(Math.hypot(b.x - a.x, b.y - a.y), 0) });
  const [down, across] = spacing;
  const value = decimal(Math.hypot((b.x - a.x) * across, (b.y - a.y) * down), 1);
  return t(atDetector ? "millimetresAtDetector" : "millimetres", { value });
}

// Begins a line at a point of the stage, or takes hold of the end of one that is there.
export function take(stage, point) {
  const all = linesOf(stage.item);
  for (const line of all.toReversed()) {
    const end = line.findIndex((each) => Math.hypot(stage.toStage(each).x - point.x, stage.toStage(each).y - point.y) < NEAR);
    if (end < 0) continue;
    all.splice(all.indexOf(line), 1);
    all.push(line);
    return { line, end };
  }
  const line = [stage.toFilm(point), stage.toFilm(point)];
  all.push(line);
  return { line, end: 1 };
}

// A line that was hardly drawn is none.
export function settle(stage, { line }) {
  const [a, b] = line.map((end) => stage.toStage(end));
  const all = linesOf(stage.item);
  if (Math.hypot(a.x - b.x, a.y - b.y) >= 3) return lengthOf(line, stage.film);
  all.splice(all.indexOf(line), 1);
  return "";
}

// Lines of the film of a stage, with their lengths; a cross where the keyboard is.
export function drawLines(stage, node) {
  const drawn = stage.item && stage.film ? linesOf(stage.item).map((line) => drawLine(stage, line)) : [];
  const cross = stage.byKeyboard && stage.spot ? [drawCross(stage.toStage(stage.spot))] : [];
  node.replaceChildren(...drawn, ...cross);
}

function drawLine(stage, line) {
  const [a, b] = line.map((end) => stage.toStage(end));
  const apart = Math.hypot(b.x - a.x, b.y - a.y) || 1;
  const [across, down] = [(-STROKE * (b.y - a.y)) / apart, (STROKE * (b.x - a.x)) / apart];
  const end = (p) => `M${p.x - across} ${p.y - down}L${p.x + across} ${p.y + down}`;
  const d = `M${a.x} ${a.y}L${b.x} ${b.y}${end(a)}${end(b)}`;
  const right = a.x > b.x ? a : b;
  const inside = right.x < stage.width - 130;
  return s("g", { class: "line" }, s("path", { class: "halo", d }), s("path", { d }),
    s("text", { x: right.x + (inside ? 10 : -10), y: right.y + 4, "text-anchor": inside ? "start" : "end" }, lengthOf(line, stage.film)));
}

const drawCross = ({ x, y }) => s("g", { class: "line" }, ["halo", ""].map((name) => s("path", { class: name, d: `M${x - 9} ${y}H${x + 9}M${x} ${y - 9}V${y + 9}` })));
