// Elements and charts, built and never parsed from text: what a file is called cannot become part of the page.
const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") node.setAttribute("class", value);
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.flat(Infinity).filter((child) => child != null));
  return node;
}

// Instead of what a node holds; nothing where a part is null.
export const put = (node, ...children) => node.replaceChildren(...children.flat(Infinity).filter((child) => child != null));

export const h = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
export const s = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

// Hands content to the person as a file.
export function save(content, name) {
  const link = h("a", { href: URL.createObjectURL(content), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// A short mark with what it means: on hover, and for screen readers.
export const mark = (text, meaning) =>
  h("span", { class: "mark", title: meaning }, h("span", { "aria-hidden": "true" }, text), h("span", { class: "unseen" }, meaning));

// A square chart of shares with its axes; `draw` gets functions from shares to places.
export function chart(label, across, up, draw) {
  const left = 46, top = 12, side = 300, bottom = top + side;
  const x = (share) => left + share * side;
  const y = (share) => bottom - share * side;
  const ticks = [0, 0.25, 0.5, 0.75, 1];
  return s("svg", { class: "chart", viewBox: `0 0 ${left + side + 14} ${bottom + 44}`, role: "img", "aria-label": label },
    ticks.map((v) => s("path", { class: "axis", d: `M${x(v)} ${y(0)}V${y(1)}M${x(0)} ${y(v)}H${x(1)}` })),
    ticks.map((v) => s("text", { x: x(v), y: bottom + 17, "text-anchor": "middle" }, `${100 * v}`)),
    ticks.map((v) => s("text", { x: left - 7, y: y(v) + 4, "text-anchor": "end" }, `${100 * v}`)),
    s("text", { x: x(0.5), y: bottom + 37, "text-anchor": "middle" }, across),
    s("text", { transform: `translate(12 ${y(0.5)}) rotate(-90)`, "text-anchor": "middle" }, up),
    draw(x, y));
}

export function table(header, rows, attributes = {}) {
  const cell = (tag, value) => {
    const { text, ...more } = value !== null && typeof value === "object" && !(value instanceof Node) ? value : { text: value };
    return h(tag, more, text);
  };
  return h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": attributes.label },
    h("table", {}, h("thead", {}, h("tr", {}, header.map((name) => cell("th", name)))),
      h("tbody", {}, rows.map((row) => h("tr", row.attributes || {}, (row.cells || row).map((value) => cell("td", value)))))));
}
