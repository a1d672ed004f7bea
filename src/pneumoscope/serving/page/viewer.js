// A film on a stage: zoom, pan, rotate and flip, window and level, loupe and caliper, the evidence laid over it.
import { drawLines, settle, take } from "./caliper.js";
import { h, s } from "./dom.js";
import { largest, paint, PRESETS, painted, reduced, stepFor, tableOf, windowOf } from "./greys.js";
import { drawHeader } from "./header.js";
import { Loupe } from "./loupe.js";
import { isHidden } from "./readings.js";
import { evidence, fileOf, levels } from "./service.js";
import { t } from "./words.js";

const KEPT = 6;
const films = new Map();

// Where a finger points, none: a swipe over the film moves the page, until a person has chosen a tool.
export const FIRST_TOOL = matchMedia("(pointer: coarse)").matches ? null : "window";

// More pixels than a frame has time for: painted coarser while the window is dragged, and halved before they are wanted.
const MANY = 2e6;

// What takes long of a large film is done when it arrives, which may be before it is chosen; in two turns, so that neither holds up the page.
async function prepared(film) {
  windowOf(film);
  if (film.width * film.height > MANY) {
    await new Promise((done) => setTimeout(done));
    reduced(film, 2);
  }
  return film;
}

// Decoded films, the last few: a second look costs nothing.
function decoded(item) {
  let found = films.get(item.id);
  if (found) films.delete(item.id);
  else found = fileOf(item).then(levels).then(prepared);
  films.set(item.id, found);
  for (const id of films.keys()) if (films.size > KEPT) films.delete(id);
  found.catch(() => films.delete(item.id));
  return found;
}

// Decodes a film before it is wanted.
export const prefetch = (item) => void decoded(item).catch(() => {});

export const forgetFilms = () => films.clear();

export async function thumbnail(item, side) {
  const film = await decoded(item);
  const scale = side / Math.max(film.width, film.height);
  const step = stepFor(scale), source = reduced(film, step);
  const whole = painted(h("canvas"), source, tableOf(film, { ...windowOf(film), inverted: false }), 0, 0, source.width, source.height);
  const small = h("canvas", { width: Math.max(1, Math.round(film.width * scale)), height: Math.max(1, Math.round(film.height * scale)) });
  const context = small.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(whole, 0, 0, small.width, small.height);
  return small.toDataURL("image/jpeg", 0.85);
}

// The evidence of an item, requested when it is first wanted; once more after a failure. Where the bundle changes meanwhile,
// the item has none again, or another one.
export function evidenceOf(item) {
  const request = (item.evidence ??= fileOf(item).then(evidence));
  request.catch(() => item.evidence === request && (item.evidence = null));
  return request;
}

// From this zoom on single pixels are wanted. Below it blocks with hard edges would look like structure, so it is smooth; at one pixel
// on one there is nothing between pixels to be made up.
const SINGLE_PIXELS = 4;
// Cosine and sine of quarter turns, clockwise.
const QUARTERS = [[1, 0], [0, 1], [-1, 0], [0, -1]];
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const [SMALLEST, LARGEST] = [0.05, 20];
// Problems that pass: no answer, an answer of something before the service, a service that stops, a file that came too slowly.
const PASSING = ["offline", "", "stopping", "upload_timeout"];

export class Stage {
  // `onChange` is called with the stage and what has changed: "film", "view" (zoom, position, window), "spot" (under the loupe), "chosen".
  constructor(onChange) {
    this.onChange = (what) => onChange(this, what);
    this.canvas = h("canvas", { role: "img", tabindex: "0" });
    this.context = this.canvas.getContext("2d", { alpha: false });
    this.layer = h("img", { class: "layer", alt: "", hidden: true });
    this.picture = h("div", { class: "picture" }, this.canvas, this.layer);
    this.lines = s("svg", { class: "lines", "aria-hidden": "true" });
    this.caption = h("span", { class: "caption" });
    this.turned = h("strong", { class: "turned", hidden: true });
    this.levels = h("div", { class: "levels" });
    this.legend = h("div", { class: "legend", hidden: true });
    this.none = h("div", { class: "none" });
    this.panel = h("section", { class: "panel", tabindex: "0", hidden: true });
    this.said = h("p", { class: "unseen", role: "status" });
    this.node = h("div", { class: "stage" }, this.picture, this.lines, this.none, h("div", { class: "top" }, this.caption, this.turned), this.panel, this.legend, this.levels, this.said);
    this.loupe = new Loupe(this);
    this.item = null;
    this.film = null;
    this.missing = null; // code of the problem for which the film is not shown
    this.use(FIRST_TOOL);
    this.evidence = 0;
    this.headerWanted = false;
    this.pointers = new Map();
    this.width = this.height = 0;
    this.reset();
    for (const [name, act] of Object.entries({
      pointerdown: this.down, pointermove: this.move, pointerup: this.up, pointercancel: this.up, pointerleave: this.leave, wheel: this.wheel,
      dblclick: () => this.tool !== "caliper" && this.fit(), contextmenu: (event) => event.preventDefault(),
    })) this.node.addEventListener(name, (event) => this.panel.contains(event.target) || act.call(this, event), { passive: false });
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.canvas.addEventListener("blur", () => this.byKeyboard && this.point(null));
    this.node.addEventListener("focusin", () => this.onChange("chosen"));
    this.layer.addEventListener("load", () => this.loupe.draw());
    this.onLook = new ResizeObserver(() => {
      this.measure();
      if (this.fitted) this.fit();
      else this.place();
    });
    this.onLook.observe(this.node);
    this.say(t("choose"));
  }

  // All as it was when the film was opened; lines that were measured stay.
  reset() {
    Object.assign(this, { zoom: 1, x: 0, y: 0, turn: 0, flipped: false, inverted: false, fitted: true, preset: "auto" });
    Object.assign(this, this.film ? windowOf(this.film) : { window: 1, level: 0.5 });
    this.table = null;
    this.label();
    this.fit();
  }

  say(words) {
    this.none.replaceChildren(h("p", {}, words));
    this.none.hidden = !words;
    this.picture.hidden = this.levels.hidden = Boolean(words);
    this.caption.hidden = !this.item;
    this.place();
  }

  async show(item) {
    if (item === this.item) return;
    const share = this.spotShare;
    this.item = item;
    this.film = null;
    this.drag = this.spot = null;
    this.forgetLayer();
    this.missing = null;
    this.say(item ? t("loading") : t("choose"));
    this.label();
    this.onChange("film");
    if (item) await this.load(share);
  }

  // Whether a person sees what there is to see of the film.
  get isShown() {
    return Boolean(this.film) || this.missing === "unreadable";
  }

  // Tries once more where what kept from showing the film may have passed.
  again() {
    if (PASSING.includes(this.missing)) this.load();
  }

  async load(share = null) {
    const item = this.item;
    this.missing = null;
    try {
      const film = await decoded(item);
      if (this.item !== item) return;
      this.film = film;
      this.measure();
      this.reset();
      this.say("");
      this.pointAtShare(share);
      this.showEvidence();
      this.onChange("film");
      this.drawNow();
    } catch (error) {
      if (this.item !== item) return;
      this.missing = error.code ?? "internal";
      this.say(this.missing === "unreadable" ? t("noPicture") : error.message);
      this.onChange("film");
    }
  }

  // What is said of the film: its name, its orientation, its header.
  label() {
    this.caption.textContent = this.item?.name ?? "";
    const decision = this.item?.prediction && !isHidden(this.item) ? t(this.item.prediction.decision) : "";
    const orientation = this.flipped ? (this.turn ? "mirroredTurned" : "mirrored") : ["", "rotated", "upsideDown", "rotated"][this.turn];
    this.turned.textContent = this.film && orientation ? t(orientation, { degrees: 90 * this.turn }) : "";
    this.turned.hidden = !this.turned.textContent;
    this.canvas.setAttribute("aria-label", [t("evidenceLabel", { name: this.item?.name ?? "", decision }), this.turned.textContent].filter(Boolean).join(". "));
    this.panel.hidden = !this.headerWanted || !this.film?.header;
    if (!this.panel.hidden) drawHeader(this.panel, this.film, isHidden(this.item) ? [] : this.item.prediction?.reasons ?? []);
  }

  showHeader(wanted) {
    this.headerWanted = wanted;
    this.label();
  }

  measure() {
    this.width = this.node.clientWidth;
    this.height = this.node.clientHeight;
  }

  // From the film to the stage: mirrored, turned, enlarged, moved. As a, b, c, d of a matrix.
  matrix(zoom) {
    const [cosine, sine] = QUARTERS[this.turn], across = this.flipped ? -zoom : zoom;
    return [across * cosine, across * sine, -zoom * sine, zoom * cosine];
  }

  toStage({ x, y }) {
    const [a, b, c, d] = this.matrix(this.zoom), u = x - this.film.width / 2, v = y - this.film.height / 2;
    return { x: this.width / 2 + this.x + a * u + c * v, y: this.height / 2 + this.y + b * u + d * v };
  }

  // The matrix of a turn is orthogonal: its inverse is its transpose.
  toFilm({ x, y }) {
    const [a, b, c, d] = this.matrix(1 / this.zoom), u = x - this.width / 2 - this.x, v = y - this.height / 2 - this.y;
    return { x: this.film.width / 2 + a * u + b * v, y: this.film.height / 2 + c * u + d * v };
  }

  // Width and height of the film as it is turned, at the zoom at which all of it is seen.
  fitting() {
    const { width, height } = this.film, [across, down] = this.turn % 2 ? [height, width] : [width, height];
    const zoom = Math.min(this.width / across, this.height / down) || 1;
    return { zoom, across: across * zoom, down: down * zoom };
  }

  showsPixels = (zoom) => zoom >= SINGLE_PIXELS || zoom === 1;

  // Where the film lies is said to the compositor at once; pixels are painted anew only where the window or the resolution has changed.
  place() {
    if (!this.film) {
      this.lines.replaceChildren();
      this.loupe.draw();
      return;
    }
    const { width, height } = this.film;
    this.picture.style.transform =
      `translate(${this.x + this.width / 2}px, ${this.y + this.height / 2}px) scale(${this.zoom}) rotate(${90 * this.turn}deg) scaleX(${this.flipped ? -1 : 1}) translate(${-width / 2}px, ${-height / 2}px)`;
    this.picture.classList.toggle("pixels", this.showsPixels(this.zoom));
    this.draw();
  }

  // Drawn once a frame, however fast the pointer moves.
  draw() {
    this.frame ||= requestAnimationFrame(() => this.drawNow());
  }

  drawNow() {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    if (!this.film) return;
    this.paint();
    drawLines(this, this.lines);
    this.loupe.draw();
    const most = largest(this.film);
    this.levels.textContent = `W ${Math.round(this.window * most)}  L ${Math.round(this.level * most)}  ${Math.round(100 * this.zoom)} %`;
  }

  paint() {
    let step = stepFor(this.zoom * devicePixelRatio);
    if (!this.table && this.pointers.size) while ((this.film.width * this.film.height) / step ** 2 > MANY) step *= 2;
    if (this.table && this.painted === this.film && this.step === step) return;
    const source = reduced(this.film, step), { width, height } = source;
    this.table ??= tableOf(this.film, this);
    if (this.canvas.width !== width || this.canvas.height !== height || !this.pixels) {
      Object.assign(this.canvas, { width, height });
      this.image = this.context.createImageData(width, height);
      this.pixels = new Uint32Array(this.image.data.buffer);
    }
    this.canvas.style.width = `${width * step}px`;
    this.canvas.style.height = `${height * step}px`;
    paint(this.pixels, source, this.table, 0, 0, width, height);
    this.context.putImageData(this.image, 0, 0);
    this.painted = this.film;
    this.step = step;
  }

  useWindow(window, level) {
    this.window = Math.min(4, Math.max(0.02, window));
    this.level = Math.min(1.5, Math.max(-0.5, level));
    this.table = null;
    this.draw();
  }

  // The preset whose window is in use; none where it was changed by hand.
  get presetInUse() {
    const { window, level } = windowOf(this.film, this.preset);
    return window === this.window && level === this.level ? this.preset : null;
  }

  usePreset(name) {
    this.preset = name;
    this.table = null;
    Object.assign(this, windowOf(this.film, name));
    this.draw();
  }

  // The next one; from a window by hand to the one that it began with.
  nextPreset() {
    const next = (PRESETS.indexOf(this.preset) + 1) % PRESETS.length;
    return this.presetInUse ? PRESETS[next] : this.preset;
  }

  fit() {
    if (!this.film) return;
    Object.assign(this, { zoom: this.fitting().zoom, x: 0, y: 0, fitted: true });
    this.place();
  }

  zoomBy(factor, x = this.width / 2, y = this.height / 2) {
    if (this.film) this.zoomTo(this.zoom * factor, x, y);
  }

  zoomTo(wanted, x = this.width / 2, y = this.height / 2) {
    const zoom = Math.min(LARGEST, Math.max(SMALLEST, wanted)), grown = zoom / this.zoom;
    const [right, down] = [x - this.width / 2, y - this.height / 2];
    Object.assign(this, { zoom, x: right - (right - this.x) * grown, y: down - (down - this.y) * grown, fitted: false });
    this.place();
  }

  invert() {
    this.inverted = !this.inverted;
    this.table = null;
    this.draw();
  }

  // About the middle of the stage, by quarters clockwise.
  rotate(quarters) {
    const [cosine, sine] = QUARTERS[(quarters + 4) % 4];
    this.turn = (this.turn + quarters + 4) % 4;
    [this.x, this.y] = [cosine * this.x - sine * this.y, sine * this.x + cosine * this.y];
    this.reorient();
  }

  // Left for right as it is on the screen: of a film that was turned, the turn is the other way round then.
  flip() {
    this.flipped = !this.flipped;
    this.turn = (4 - this.turn) % 4;
    this.x = -this.x;
    this.reorient();
  }

  reorient() {
    this.label();
    if (this.fitted) this.fit();
    else this.place();
  }

  // Zoom, position and window beside the film's own fit and its own window: what films of any size and exposure have in common.
  get relative() {
    const { zoom, across, down } = this.fitting(), own = windowOf(this.film, this.preset);
    return {
      fitted: this.fitted, zoom: this.zoom / zoom, x: this.x / across, y: this.y / down,
      preset: this.preset, window: this.window / own.window, level: (this.level - own.level) / own.window,
    };
  }

  follow({ fitted, zoom, x, y, preset, window, level }) {
    const fitting = this.fitting(), own = windowOf(this.film, preset);
    const next = { window: window * own.window, level: own.level + level * own.window };
    if (next.window !== this.window || next.level !== this.level) this.table = null;
    Object.assign(this, next, { fitted, zoom: zoom * fitting.zoom, x: x * fitting.across, y: y * fitting.down, preset });
    this.place();
  }

  // The spot under the loupe, a point of the film, and the same as fractions of the film for the other one.
  point(spot, byKeyboard = false) {
    Object.assign(this, { spot, byKeyboard: byKeyboard && Boolean(spot) });
    if (this.loupe.on || byKeyboard || !spot) this.draw();
    this.onChange("spot");
  }

  get spotShare() {
    return this.spot && this.film && { x: this.spot.x / this.film.width, y: this.spot.y / this.film.height };
  }

  pointAtShare(share) {
    this.spot = share && this.film ? { x: share.x * this.film.width, y: share.y * this.film.height } : null;
    this.draw();
  }

  useLoupe(on) {
    this.spot ??= this.film ? this.toFilm({ x: this.width / 2, y: this.height / 2 }) : null;
    this.loupe.toggle(on);
    this.letScroll();
  }

  at(event) {
    const box = this.node.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  down(event) {
    this.node.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    this.onChange("chosen");
    if (!this.film) return;
    this.loupe.lifted = event.pointerType === "touch";
    if (this.loupe.on) this.point(this.toFilm(this.at(event)));
    if (this.pointers.size > 1) this.endLine();
    else if (this.tool === "caliper" && event.button === 0) this.drag = take(this, this.at(event));
  }

  up(event) {
    this.pointers.delete(event.pointerId);
    this.endLine();
    this.draw();
  }

  leave(event) {
    if (event.pointerType !== "touch" && this.spot && !this.byKeyboard) this.point(null);
  }

  endLine() {
    if (!this.drag) return;
    const length = settle(this, this.drag);
    this.drag = null;
    this.said.textContent = length && t("measured", { length });
    this.draw();
  }

  drawLineTo(point) {
    this.drag.line[this.drag.end] = point;
    this.draw();
  }

  move(event) {
    if (!this.film) return;
    const here = this.at(event), last = this.pointers.get(event.pointerId);
    if (this.loupe.on && this.pointers.size < 2) this.point(this.toFilm(here));
    if (!last) return;
    const now = { x: event.clientX, y: event.clientY };
    const [dx, dy] = [now.x - last.x, now.y - last.y];
    this.pointers.set(event.pointerId, now);
    if (this.pointers.size > 1) {
      // Two fingers: how their distance changes zooms, where they go the film goes.
      const other = [...this.pointers].find(([id]) => id !== event.pointerId)[1];
      const box = this.node.getBoundingClientRect();
      const apart = (p) => Math.hypot(p.x - other.x, p.y - other.y);
      this.x += dx / 2;
      this.y += dy / 2;
      this.zoomBy(apart(now) / Math.max(1, apart(last)), (now.x + other.x) / 2 - box.left, (now.y + other.y) / 2 - box.top);
    } else if (this.drag) {
      this.drawLineTo(this.toFilm(here));
      return;
    } else if (this.loupe.on && event.pointerType === "touch") {
      return; // the finger moves the loupe
    } else if (this.tool === "pan" || event.buttons & 6) {
      this.x += dx;
      this.y += dy;
      this.fitted = false;
      this.place();
    } else if (this.tool === "window") {
      this.useWindow(this.window * Math.exp(dx / 250), this.level - dy / 400);
    }
    this.onChange("view");
  }

  wheel(event) {
    event.preventDefault();
    const { x, y } = this.at(event);
    this.zoomBy(Math.exp(-event.deltaY / 500), x, y);
    this.onChange("view");
  }

  // Loupe and caliper without a pointer: arrows move the spot, the space bar begins and ends a line there.
  key(event) {
    const arrow = ARROWS[event.key], caliper = this.tool === "caliper";
    if (!this.film || event.ctrlKey || event.metaKey || event.altKey || !(this.loupe.on || caliper) || !(arrow || (caliper && event.key === " "))) return;
    event.preventDefault();
    event.stopPropagation();
    const from = this.toStage(this.spot ?? this.toFilm({ x: this.width / 2, y: this.height / 2 })), far = event.shiftKey ? 1 : 10;
    const within = (value, most) => Math.min(most, Math.max(0, value));
    const [right, down] = arrow ?? [0, 0];
    this.point(this.toFilm({ x: within(from.x + far * right, this.width), y: within(from.y + far * down, this.height) }), true);
    if (arrow) {
      if (this.drag) this.drawLineTo(this.spot);
    } else if (this.drag) this.endLine();
    else this.drag = take(this, from);
  }

  // A finger that does nothing to the film moves the page.
  letScroll() {
    this.node.classList.toggle("free", !this.tool && !this.loupe.on);
  }

  use(tool) {
    this.endLine();
    this.tool = tool;
    this.node.classList.toggle("panning", tool === "pan");
    this.letScroll();
  }

  explain(...words) {
    this.legend.replaceChildren(...words);
    this.legend.hidden = false;
  }

  forgetLayer() {
    this.legend.hidden = true;
    if (this.layer.src) URL.revokeObjectURL(this.layer.src);
    this.layer.removeAttribute("src");
    this.layer.hidden = true;
    this.layerOf = this.request = null;
  }

  // The map is requested when it is first wanted.
  async showEvidence(strength = this.evidence) {
    this.evidence = strength;
    this.layer.style.opacity = strength;
    const item = this.item;
    this.drawEvidence();
    if (!this.wantsEvidence || this.layerOf === item) return;
    const request = (this.request = evidenceOf(item));
    this.layerOf = item;
    this.explain(h("span", {}, t("evidenceLoading")));
    const { picture, problem } = await request.catch((error) => ({ problem: error }));
    if (this.request !== request) return; // another film, or another bundle, since
    if (picture) {
      this.layer.src = URL.createObjectURL(picture);
      this.explain(h("span", { class: "against" }, t("evidenceAgainst")), h("span", { class: "scale", "aria-hidden": "true" }), h("span", { class: "for" }, t("evidenceFor")));
    } else {
      this.layerOf = null;
      this.explain(h("span", { role: "alert" }, t("evidenceFailed", { why: problem.message })));
    }
    this.drawEvidence();
  }

  // Whether a person may see the evidence, and wants to: while it is computed, either may change.
  get wantsEvidence() {
    return Boolean(this.evidence && this.item && this.film) && !isHidden(this.item) && this.item.prediction?.pneumonia_probability != null;
  }

  drawEvidence() {
    this.legend.hidden = !this.wantsEvidence;
    this.layer.hidden = this.legend.hidden || !this.layer.src;
    this.draw();
  }
}
