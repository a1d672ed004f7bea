// A round glass on a stage: what lies under it at twice the zoom, in the same window.
import { h } from "./dom.js";
import { painted, reduced, stepFor } from "./greys.js";

const ACROSS = 220; // CSS pixels
const TIMES = 2;
// Above a finger, which would hide it.
const ABOVE = ACROSS / 2 + 36;

export class Loupe {
  constructor(stage) {
    this.stage = stage;
    this.canvas = h("canvas", { class: "loupe", "aria-hidden": "true" });
    this.part = h("canvas");
    this.on = false;
    this.lifted = false;
  }

  toggle(on) {
    this.on = on;
    if (on) this.stage.node.append(this.canvas);
    else this.canvas.remove();
    this.draw();
  }

  draw() {
    const { film, spot, zoom, table, layer } = this.stage;
    if (!this.on) return;
    this.canvas.hidden = !film || !spot;
    if (this.canvas.hidden) return;
    const dense = devicePixelRatio, scale = TIMES * zoom * dense, side = Math.round(ACROSS * dense);
    if (this.canvas.width !== side) Object.assign(this.canvas, { width: side, height: side });
    const step = stepFor(scale), source = reduced(film, step), reach = side / 2 / scale / step;
    const [left, right] = [spot.x / step - reach - 1, spot.x / step + reach + 1].map((x) => Math.floor(Math.min(source.width, Math.max(0, x))));
    const [top, bottom] = [spot.y / step - reach - 1, spot.y / step + reach + 1].map((y) => Math.floor(Math.min(source.height, Math.max(0, y))));
    const context = this.canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.globalCompositeOperation = "source-over";
    context.globalAlpha = 1;
    context.fillRect(0, 0, side, side);
    const [a, b, c, d] = this.stage.matrix(scale);
    context.setTransform(a, b, c, d, side / 2 - a * spot.x - c * spot.y, side / 2 - b * spot.x - d * spot.y);
    context.imageSmoothingEnabled = !this.stage.showsPixels(TIMES * zoom);
    if (right > left && bottom > top) {
      painted(this.part, source, table, left, top, right - left, bottom - top);
      context.drawImage(this.part, left * step, top * step, (right - left) * step, (bottom - top) * step);
    }
    if (!layer.hidden && layer.complete && layer.naturalWidth) {
      context.globalCompositeOperation = "screen";
      context.globalAlpha = this.stage.evidence;
      context.drawImage(layer, 0, 0, film.width, film.height);
    }
    const { x, y } = this.stage.toStage(spot);
    this.canvas.style.transform = `translate(${x - ACROSS / 2}px, ${y - ACROSS / 2 - (this.lifted ? ABOVE : 0)}px)`;
  }
}
