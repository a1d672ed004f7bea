// A banner on the worklist where the films have changed; asked for after a batch, and each few minutes.
import { h, put } from "./dom.js";
import { worst } from "./drift.js";
import { getJson } from "./service.js";
import { t } from "./words.js";

const EVERY = 5 * 60_000;
let drift = null;

export function startBanner() {
  document.addEventListener("films-analysed", ask);
  setInterval(() => document.hidden || ask(), EVERY);
  ask();
}

async function ask() {
  drift = await getJson("/v1/drift").catch(() => null); // whether the service answers is said elsewhere
  drawBanner();
}

export function drawBanner() {
  const node = document.getElementById("banner");
  const found = drift && worst(drift);
  node.hidden = !["moved", "drifted"].includes(found?.level);
  node.className = `banner ${found?.level ?? ""}`;
  if (node.hidden) put(node);
  else put(node, h("span", { class: `level ${found.level}` }, t(found.level)), " ", t("bannerDrift", { names: found.names }), " ", h("a", { href: "#watch" }, t("bannerGo")));
}
