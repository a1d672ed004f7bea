// A film on a stage: zoom, pan, window and level, invert, the evidence laid over it.
import { h } from "./dom.js";
import { isHidden } from "./readings.js";
import { evidence, fileOf, levels } from "./service.js";
import { t } from "./words.js";

const KEPT = 6;
const films = new Map();

// Decoded films, the last few: a second look costs nothing.
function decoded(item) {
  let found = films.get(item.id);
  if (found) films.delete(item.id);
  else found = fileOf(item).then(levels);
  films.set(item.id, found);
  for (const id of films.keys()) if (films.size > KEPT) films.delete(id);
  found.catch(() => films.delete(item.id));
  return found;
}

// Decodes a film before it is wanted.
export const prefetch = (item) => void decoded(item).catch(() => {});

export const forgetFilms = () => films.clear();

// Window and level that show an image: all of its range, or, where most of 16 bits is unused, what lies from the 1st to the 99th percentile.
// DICOM objects come with the window of their header applied.
function windowOf(film) {
  const whole = { window: 1, level: 0.5 };
  if (film.bits === 8) return whole;
  const counts = new Uint32Array(65536);
  for (let i = 0; i < film.values.length; i += 1) counts[film.values[i]] += 1;
  const percentile = (fraction) => {
    let value = 0, left = fraction * film.values.length - counts[0];
    while (left > 0) left -= counts[(value += 1)];
    return value / 65535;
  };
  const [low, high] = [percentile(0.01), percentile(0.99)];
  return high > low && high - low < 0.5 ? { window: high - low, level: (low + high) / 2 } : whole;
}

// Grey levels through a window, for the screen.
function shown(film, window_, level, inverted) {
  const most = film.bits === 8 ? 255 : 65535;
  const table = new Uint8ClampedArray(most + 1);
  for (let v = 0; v <= most; v += 1) {
    const grey = 255 * ((v / most - level) / window_ + 0.5);
    table[v] = inverted ? 255 - Math.min(255, Math.max(0, grey)) : grey;
  }
  const picture = new ImageData(film.width, film.height);
  const pixels = new Uint32Array(picture.data.buffer);
  for (let i = 0; i < film.values.length; i += 1) pixels[i] = 0xff000000 | (table[film.values[i]] * 0x010101);
  return picture;
}

export async function thumbnail(item, side) {
  const film = await decoded(item);
  const whole = h("canvas", { width: film.width, height: film.height });
  const { window, level } = windowOf(film);
  whole.getContext("2d").putImageData(shown(film, window, level, false), 0, 0);
  const scale = side / Math.max(film.width, film.height);
  const small = h("canvas", { width: Math.max(1, Math.round(film.width * scale)), height: Math.max(1, Math.round(film.height * scale)) });
  const context = small.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(whole, 0, 0, small.width, small.height);
  return small.toDataURL("image/jpeg", 0.85);
}

// The evidence of an item, requested when it is first wanted; once more after a failure.
export const evidenceOf = (item) =>
  (item.evidence ??= fileOf(item).then(evidence).catch((error) => {
    item.evidence = null;
    throw error;
  }));

export class Stage {
  constructor(onChange) {
    this.onChange = onChange;
    this.canvas = h("canvas", { role: "img", tabindex: "0" });
    this.layer = h("img", { class: "layer", alt: "", hidden: true });
    this.picture = h("div", { class: "picture" }, this.canvas, this.layer);
    this.caption = h("div", { class: "caption" });
    this.levels = h("div", { class: "levels" });
    this.legend = h("div", { class: "legend", hidden: true });
    this.none = h("div", { class: "none" });
    this.node = h("div", { class: "stage" }, this.picture, this.none, this.caption, this.legend, this.levels);
    this.item = null;
    this.film = null;
    this.tool = "window";
    this.evidence = 0;
    this.pointers = new Map();
    this.reset();
    for (const [name, act] of Object.entries({
      pointerdown: this.down, pointermove: this.move, pointerup: this.up, pointercancel: this.up, wheel: this.wheel, dblclick: () => this.fit(),
      contextmenu: (event) => event.preventDefault(),
    })) this.node.addEventListener(name, act.bind(this), { passive: false });
    this.onLook = new ResizeObserver(() => this.fitted && this.fit());
    this.onLook.observe(this.node);
    this.say(t("choose"));
  }

  reset() {
    Object.assign(this, this.film ? windowOf(this.film) : { window: 1, level: 0.5 });
    this.inverted = false;
    this.zoom = 1;
    this.left = 0;
    this.top = 0;
    this.fitted = true;
  }

  say(words) {
    this.none.replaceChildren(h("p", {}, words));
    this.none.hidden = !words;
    this.picture.hidden = Boolean(words);
    this.levels.hidden = Boolean(words);
    this.caption.hidden = !this.item;
  }

  async show(item) {
    if (item === this.item) return;
    this.item = item;
    this.film = null;
    this.forgetLayer();
    this.caption.textContent = item ? item.name : "";
    this.say(item ? t("loading") : t("choose"));
    if (!item) return;
    try {
      const film = await decoded(item);
      if (this.item !== item) return;
      this.film = film;
      this.canvas.width = film.width;
      this.canvas.height = film.height;
      this.reset();
      this.say("");
      this.label();
      this.draw();
      this.fit();
      this.showEvidence();
      this.onChange();
    } catch (error) {
      if (this.item === item) this.say(error.code === "unreadable" ? t("noPicture") : error.message);
    }
  }

  label() {
    const decision = this.item?.prediction && !isHidden(this.item) ? t(this.item.prediction.decision) : "";
    this.canvas.setAttribute("aria-label", t("evidenceLabel", { name: this.item?.name ?? "", decision }));
  }

  // Drawn once a frame, however fast the pointer moves.
  draw() {
    if (this.drawing || !this.film) return;
    this.drawing = requestAnimationFrame(() => {
      this.drawing = 0;
      if (!this.film) return;
      this.canvas.getContext("2d").putImageData(shown(this.film, this.window, this.level, this.inverted), 0, 0);
      const most = this.film.bits === 8 ? 255 : 65535;
      this.levels.textContent = `W ${Math.round(this.window * most)}  L ${Math.round(this.level * most)}  ${Math.round(100 * this.zoom)} %`;
    });
  }

  place() {
    this.picture.style.transform = `translate(${this.left}px, ${this.top}px) scale(${this.zoom})`;
    this.draw();
  }

  fit() {
    if (!this.film) return;
    const { clientWidth: width, clientHeight: height } = this.node;
    this.zoom = Math.min(width / this.film.width, height / this.film.height) || 1;
    this.left = (width - this.film.width * this.zoom) / 2;
    this.top = (height - this.film.height * this.zoom) / 2;
    this.fitted = true;
    this.place();
  }

  zoomBy(factor, x = this.node.clientWidth / 2, y = this.node.clientHeight / 2) {
    if (!this.film) return;
    const zoom = Math.min(20, Math.max(0.05, this.zoom * factor));
    this.left = x - (x - this.left) * (zoom / this.zoom);
    this.top = y - (y - this.top) * (zoom / this.zoom);
    this.zoom = zoom;
    this.fitted = false;
    this.place();
  }

  invert() {
    this.inverted = !this.inverted;
    this.draw();
  }

  down(event) {
    this.node.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  }

  up(event) {
    this.pointers.delete(event.pointerId);
  }

  move(event) {
    const last = this.pointers.get(event.pointerId);
    if (!last || !this.film) return;
    const now = { x: event.clientX, y: event.clientY };
    const [dx, dy] = [now.x - last.x, now.y - last.y];
    this.pointers.set(event.pointerId, now);
    if (this.pointers.size > 1) {
      // Two fingers: how their distance changes zooms, where they go the film goes.
      const other = [...this.pointers].find(([id]) => id !== event.pointerId)[1];
      const box = this.node.getBoundingClientRect();
      const apart = (p) => Math.hypot(p.x - other.x, p.y - other.y);
      this.left += dx / 2;
      this.top += dy / 2;
      this.zoomBy(apart(now) / Math.max(1, apart(last)), (now.x + other.x) / 2 - box.left, (now.y + other.y) / 2 - box.top);
    } else if (this.tool === "pan" || event.buttons & 6) {
      this.left += dx;
      this.top += dy;
      this.fitted = false;
      this.place();
    } else {
      this.window = Math.min(4, Math.max(0.02, this.window * Math.exp(dx / 250)));
      this.level = Math.min(1.5, Math.max(-0.5, this.level - dy / 400));
      this.draw();
    }
    this.onChange();
  }

  wheel(event) {
    event.preventDefault();
    const box = this.node.getBoundingClientRect();
    this.zoomBy(Math.exp(-event.deltaY / 500), event.clientX - box.left, event.clientY - box.top);
  }

  use(tool) {
    this.tool = tool;
    this.node.classList.toggle("panning", tool === "pan");
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
    this.layerOf = null;
  }

  // The map is requested when it is first wanted.
  async showEvidence(strength = this.evidence) {
    this.evidence = strength;
    this.layer.style.opacity = strength;
    const item = this.item;
    if (!strength || !item || !this.film || isHidden(item) || item.prediction?.pneumonia_probability == null) {
      this.layer.hidden = this.legend.hidden = true;
      return;
    }
    if (this.layerOf !== item) {
      this.layerOf = item;
      this.explain(h("span", {}, t("evidenceLoading")));
      try {
        const { picture } = await evidenceOf(item);
        if (this.item !== item) return;
        this.layer.src = URL.createObjectURL(picture);
        this.explain(h("span", { class: "against" }, t("evidenceAgainst")), h("span", { class: "scale", "aria-hidden": "true" }), h("span", { class: "for" }, t("evidenceFor")));
      } catch (error) {
        if (this.item !== item) return;
        this.layerOf = null;
        this.explain(h("span", { role: "alert" }, t("evidenceFailed", { why: error.message })));
        return;
      }
    }
    this.layer.hidden = this.legend.hidden = !this.evidence;
  }
}
