// Starts the page: which part is shown, in which language, by which keys.
import { h } from "./dom.js";
import { drawFrame, startFrame } from "./frame.js";
import { link } from "./link.js";
import { drawAdapt, isSending } from "./adapt.js";
import { drawBanner, noteDetector, startBanner } from "./banner.js";
import { sayUnsent } from "./finding.js";
import { useClassNames } from "./labels.js";
import { drawPerformance } from "./performance.js";
import { inWords } from "./plain.js";
import { getJson, keptFilms, lastOnly, offers, watchBundle } from "./service.js";
import { drawWatch } from "./watch.js";
import { ofSite, t, useBundle } from "./words.js";
import { allFilms, labelledFilms } from "./films.js";
import { isUnsent, startKeeping } from "./keeping.js";
import { findSession, isBroken, isUnsaved, watchStorage } from "./session.js";
import { startWelcome } from "./welcome.js";
import { SHORTCUTS, addAll, changeBundle, startWorklist, wordsChanged } from "./worklist.js";

const PAGES = ["worklist", "performance", "watch", "adapt", "about"];
// Milliseconds between two looks whether somebody has switched the service to another bundle.
const LOOK = 10_000;
const $ = (id) => document.getElementById(id);
let bundle = null;
const opening = lastOnly();

function drawAbout(node) {
  const list = (name) => h("ul", {}, t(name).map((line) => h("li", {}, line)));
  const accepted = bundle.accept.map((reason) => h("li", {}, t(`reason.${reason}`), " ", h("code", { class: "soft" }, reason)));
  const card = (title, ...children) => h("section", { class: "card" }, h("h2", {}, t(title)), children);
  const pairs = (found) => h("dl", { class: "pairs" }, found.flatMap(([name, value]) => [h("dt", {}, t(name)), h("dd", {}, value)]));
  node.replaceChildren(
    h("h1", {}, t("aboutTitle")), h("p", {}, h("strong", {}, t("notice"))),
    h("div", { class: "about" },
      card("usePart", h("p", {}, inWords(bundle.intended_use)),
        accepted.length ? [h("p", {}, t("accepts")), h("ul", {}, accepted)] : h("p", {}, t("acceptsNone"))),
      card("detectorPart", pairs([["detector", `${bundle.name} ${bundle.version} (${bundle.architecture})`], ["fittedOn", inWords(bundle.fitted_on)],
        ["licence", inWords(bundle.licence)], ["citation", inWords(bundle.citation)], ["identity", h("code", {}, bundle.sha256)]])),
      // These speak about the detectors that ship.
      ofSite ? [] : [card("notForTitle", list("notFor")), card("limitsTitle", list("limits"))],
      card("privacyTitle", list("privacy")),
      card("moreTitle", h("p", {}, t("moreText"), h("a", { href: "/docs" }, t("api")), ", ", link("/v1/openapi.json", "openapi.json"), ", ", link("/metrics", "metrics.txt")))));
}

const DRAW = {
  worklist: () => {},
  performance: async (node, isLast) => {
    const measured = await getJson("/v1/performance");
    if (isLast()) drawPerformance(node, bundle, measured);
  },
  watch: drawWatch,
  adapt: (node) => drawAdapt(node, () => bundle, takeBundle),
  about: drawAbout,
};

// Each draws until another opening begins: the answer for one of before may come last.
async function open(focus) {
  const isLast = opening();
  const wanted = location.hash.slice(1);
  const name = PAGES.includes(wanted) ? wanted : "worklist";
  for (const page of PAGES) $(`page-${page}`).hidden = page !== name;
  for (const link of document.querySelectorAll(".bar nav a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = name === "worklist" ? "pneumoscope" : `${t(name)} · pneumoscope`;
  drawBanner();
  if (focus) $("content").focus({ preventScroll: true });
  try {
    await DRAW[name]($(`page-${name}`), isLast);
  } catch (error) {
    if (isLast()) $(`page-${name}`).replaceChildren(h("p", { role: "alert" }, error.message));
  }
}

function showKeys() {
  const rows = [["J ↓ / K ↑", "key_move"], ["E", "key_evidence"], ["I", "key_invert"], ["+ −", "key_zoom"], ["0 1", "key_fit"], ["W H", "key_tools"], ["V", "key_preset"], ["L", "key_loupe"], ["G", "key_caliper"], ["Esc", "key_delete"], ["[ ]", "key_rotate"], ["T", "key_flip"], ["Z", "key_reset"], ["C", "key_compare"], ["Y", "key_link"], ["Q", "key_header"], ["N P D", "key_finding"], ["A", "key_agree"], ["U", "key_withdraw"], ["R", "key_unread"], ["F", "key_filter"], ["O", "key_open"], ...(offers.pacs ? [["S", "key_pacs"]] : []), ["?", "key_help"]];
  const dialog = $("keys-dialog");
  dialog.replaceChildren(h("h2", { id: "keys-title" }, t("keysTitle")),
    h("dl", { class: "pairs" }, rows.flatMap(([keys, name]) => [h("dt", {}, h("kbd", {}, keys)), h("dd", {}, t(name))])),
    h("form", { method: "dialog" }, h("p", {}, h("button", {}, t("close")))));
  dialog.showModal();
}

function onKey(event) {
  const typing = event.target.closest("input, select, textarea, dialog") && !["range", "checkbox", "file"].includes(event.target.type);
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "?") showKeys();
  else if (!$("page-worklist").hidden && SHORTCUTS[event.key] && !(event.target.type === "range" && event.key.startsWith("Arrow"))) {
    event.preventDefault();
    SHORTCUTS[event.key](event);
  }
}

startFrame(() => {
  wordsChanged();
  open(false);
});
$("help").addEventListener("click", showKeys);
document.addEventListener("keydown", onKey);
window.addEventListener("hashchange", async () => {
  await noticeBundle().catch(() => {}); // what fails now is reported by the page that opens
  open(true);
});
document.addEventListener("visibilitychange", () => document.hidden || bundle === null || noticeBundle().catch(() => {}));
setInterval(() => document.hidden || bundle === null || noticeBundle().catch(() => {}), LOOK);
// Before a prediction of a bundle that is not known here is used. A look that was on its way already may have been too early for it.
watchBundle(async (sha256) => {
  for (let look = 0; look < 2 && sha256 !== bundle.sha256; look += 1) await noticeBundle().catch(() => {});
});

// Where something would be lost: what is not written yet, what the browser does not keep, films on their way to an adaptation.
window.addEventListener("beforeunload", (event) => {
  if (isUnsaved() || isUnsent() || isSending() || (isBroken() && allFilms().length)) event.preventDefault();
});

// Somebody may have switched the service to another bundle: what the page says and shows follows it.
let noticing = null;
function noticeBundle() {
  const before = bundle;
  // Where this page has switched it meanwhile, what comes may be of before the switch.
  noticing ??= getJson("/v1/bundle").then((found) => bundle === before && takeBundle(found)).finally(() => (noticing = null));
  return noticing;
}

function takeBundle(found) {
  const before = bundle.sha256;
  bundle = found;
  if (found.sha256 === before) return;
  speakOf(found);
  changeBundle(found);
  noteDetector("bundleChanged", found);
  open(false);
}

function speakOf(found) {
  useBundle(found);
  useClassNames(found.classes, labelledFilms().length > 0);
  drawFrame();
}

try {
  bundle = await getJson("/v1/bundle");
  // What is off is said so; what is only busy now is not.
  const isOn = (path) => getJson(path).then(() => true, ({ code }) => !code?.endsWith("_off"));
  const [history, adaptations] = await Promise.all(["/v1/history?limit=1", "/v1/adaptations"].map(isOn));
  const kept = await keptFilms().catch(({ code }) => (code === "films_off" ? null : []));
  const pacs = await getJson("/v1/pacs").catch(() => null);
  Object.assign(offers, { history, adaptations, films: kept !== null, pacs });
  for (const node of document.querySelectorAll("[data-adapts]")) node.hidden = !adaptations;
  startWorklist(bundle);
  speakOf(bundle);
  watchStorage(() => ($("announcement").textContent = t("notStored")));
  const session = (await findSession()) ?? { films: [], readings: [] };
  startWelcome(addAll, kept ?? []);
  await startKeeping(session.readings, history, sayUnsent);
  await addAll(session.films);
  wordsChanged();
  if (bundle.adaptation || bundle.parent) noteDetector("adaptedInUse", bundle);
  startBanner();
  await open(false);
  document.documentElement.dataset.ready = "yes";
} catch (error) {
  $("empty").textContent = error.message;
}
