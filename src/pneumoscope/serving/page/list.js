// A list of any length: the rows in view alone are in the page, each kept with its film and drawn anew when that has changed.
import { h } from "./dom.js";

// Rows beyond the edges that are drawn as well, so that scrolling shows no gaps.
const BEYOND = 6;

export class FilmList {
  constructor(node, rowHeight, fillRow) {
    Object.assign(this, { node, rowHeight, fillRow, films: [], rows: new Map(), contextOf: () => "" });
    this.inner = node.querySelector("ul");
    node.addEventListener("scroll", () => this.draw(), { passive: true });
    new ResizeObserver(() => this.draw()).observe(node);
  }

  // Films in their order; a row is drawn anew where the film's version or its context, such as the language, has changed.
  show(films, contextOf) {
    this.films = films;
    this.contextOf = contextOf;
    this.inner.style.height = `${films.length * this.rowHeight}px`;
    this.draw();
  }

  draw() {
    const { scrollTop, clientHeight } = this.node;
    const first = Math.max(0, Math.floor(scrollTop / this.rowHeight) - BEYOND);
    const last = Math.min(this.films.length, Math.ceil((scrollTop + clientHeight) / this.rowHeight) + BEYOND);
    const focused = this.inner.contains(document.activeElement) ? Number(document.activeElement.closest("li").dataset.row) : null;
    const wanted = new Map();
    for (let place = first; place < last; place += 1) wanted.set(this.films[place].id, place);
    if (focused !== null && !wanted.has(focused)) {
      // The row that has the keyboard stays, wherever it is.
      const place = this.films.findIndex((film) => film.id === focused);
      if (place >= 0) wanted.set(focused, place);
    }
    for (const [id, row] of this.rows) {
      if (wanted.has(id)) continue;
      row.node.remove();
      this.rows.delete(id);
    }
    const places = [...wanted].sort(([, a], [, b]) => a - b);
    let before = this.inner.firstChild;
    for (const [id, place] of places) {
      const row = this.rowOf(id, this.films[place], place);
      if (row.node === before) before = before.nextSibling;
      else this.inner.insertBefore(row.node, before);
    }
    const row = focused !== null && this.rows.get(focused)?.node;
    if (row && !row.contains(document.activeElement)) row.querySelector("button").focus({ preventScroll: true });
  }

  rowOf(id, film, place) {
    let row = this.rows.get(id);
    if (!row) {
      row = { node: h("li", { "data-row": id }), drawn: null };
      this.rows.set(id, row);
    }
    const drawn = `${film.version} ${this.contextOf(film)}`;
    if (row.drawn !== drawn) {
      this.fillRow(row.node, film);
      row.drawn = drawn;
    }
    row.node.style.transform = `translateY(${place * this.rowHeight}px)`;
    row.node.setAttribute("aria-setsize", this.films.length);
    row.node.setAttribute("aria-posinset", place + 1);
    return row;
  }

  reveal(film) {
    const top = this.films.indexOf(film) * this.rowHeight;
    if (top < 0) return;
    const { scrollTop, clientHeight } = this.node;
    if (top < scrollTop) this.node.scrollTop = top;
    else if (top + this.rowHeight > scrollTop + clientHeight) this.node.scrollTop = top + this.rowHeight - clientHeight;
  }
}
