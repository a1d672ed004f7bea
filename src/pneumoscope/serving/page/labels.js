// Names of the two classes that readers find: the bundle's, or the site's own.
import { h } from "./dom.js";
import { t } from "./words.js";

export const LABELS = ["negative", "positive"];
const USUAL = ["normal", "pneumonia"];
// As a bundle may name its classes (bundle/manifest.py).
const NAME = /^[\p{L}\p{N}][\p{L}\p{N}_ .()+-]{0,39}$/u;

let typed = keptNames() ?? ["", ""];
let ofBundle = USUAL;

// Names of the last visit; null where none can be read.
function keptNames() {
  try {
    const kept = JSON.parse(localStorage.getItem("classNames"));
    return Array.isArray(kept) && kept.length === 2 ? kept.map(String) : null;
  } catch {
    return null;
  }
}

// Id of a pair of fields to what brings it up to date.
const fields = new Map();

function changed() {
  for (const update of fields.values()) update();
  document.dispatchEvent(new Event("class-names"));
}

// Names of a bundle that comes into use. Labels that were given keep the names they were given under.
export function useClassNames(classes, labelled) {
  const next = classes.length === 2 ? classes : USUAL;
  if (labelled && next.join() !== ofBundle.join()) typed = classNames();
  ofBundle = next;
  changed();
}

// Names as a table and the service take them.
export const classNames = () => typed.map((name, place) => name.trim() || ofBundle[place]);

// A class as the page shows it: in its language where it is the bundle's.
export const labelWord = (label) => (LABELS.includes(label) ? typed[LABELS.indexOf(label)].trim() || t(USUAL[LABELS.indexOf(label)]) : t(label));

export function namesWrong() {
  const [negative, positive] = classNames().map((name) => name.toLowerCase());
  const usual = negative === USUAL[0] && positive === USUAL[1];
  const reserved = ["refer", "rejected", "outside", USUAL[1]];
  return !usual && (negative === positive || ![negative, positive].every((name) => NAME.test(name) && !reserved.includes(name)));
}

// Fields for the two names; every pair shows the same.
export function nameFields(id) {
  const inputs = LABELS.map((label, place) => h("input", { type: "text", id: `${id}-${label}`, maxlength: 40, autocomplete: "off", spellcheck: "false",
    oninput: (event) => {
      typed[place] = event.target.value;
      localStorage.setItem("classNames", JSON.stringify(typed));
      changed();
    } }));
  const words = LABELS.map((label) => h("span", { "data-word": `${label}Name` }, t(`${label}Name`)));
  const wrong = h("p", { class: "refused", role: "alert", id: `${id}-wrong` });
  const update = () => {
    const bad = namesWrong();
    inputs.forEach((input, place) => {
      if (input.value !== typed[place]) input.value = typed[place];
      input.placeholder = ofBundle[place];
      input.setAttribute("aria-invalid", String(bad));
      input.setAttribute("aria-describedby", wrong.id);
    });
    wrong.textContent = bad ? t("namesWrong") : "";
  };
  fields.set(id, update);
  update();
  return h("div", { class: "names" }, inputs.map((input, place) => h("label", {}, words[place], input)), wrong);
}
