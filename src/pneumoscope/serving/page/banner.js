// Banners on the worklist: where the films have changed, asked for after a batch and each few minutes; and where the detector is
// another one than a reader expects.
import { h, put } from "./dom.js";
import { worst } from "./drift.js";
import { getJson, lastOnly } from "./service.js";
import { t } from "./words.js";

const EVERY = 5 * 60_000;
let drift = null;
let note = null; // { word, bundle }
const request = lastOnly();

export function startBanner() {
  document.addEventListener("films-analysed", ask);
  setInterval(() => document.hidden || ask(), EVERY);
  ask();
}

async function ask() {
  const isLast = request(), found = await getJson("/v1/drift").catch(() => null); // whether the service answers is said elsewhere
  if (!isLast()) return; // of fewer films than what comes, or has come
  drift = found;
  drawBanner();
}

// Says something of the bundle in use, until it is dismissed.
export function noteDetector(word, bundle) {
  note = { word, bundle };
  drawBanner();
}

function drawNote() {
  const node = document.getElementById("detector-note");
  node.hidden = !note;
  if (!note) return;
  const { word, bundle } = note;
  put(node, h("span", {}, t(word, { name: bundle.name, version: bundle.version })),
    h("button", { type: "button", class: "quiet", onclick: () => { note = null; drawNote(); } }, t("close")));
}

export function drawBanner() {
  drawNote();
  const node = document.getElementById("banner");
  const found = drift && worst(drift);
  node.hidden = !["moved", "drifted"].includes(found?.level);
  node.className = `banner ${found?.level ?? ""}`;
  if (node.hidden) put(node);
  else put(node, h("span", { class: `level ${found.level}` }, t(found.level)), " ", t("bannerDrift", { names: found.names }), " ", h("a", { href: "#watch" }, t("bannerGo")));
}
