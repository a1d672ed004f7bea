// Starts the page: which part is shown, in which language, by which keys.
import { h } from "./dom.js";
import { link } from "./link.js";
import { drawAdapt } from "./adapt.js";
import { useClassNames } from "./labels.js";
import { drawPerformance } from "./performance.js";
import { getJson, watchBundle } from "./service.js";
import { drawWatch } from "./watch.js";
import { currentLanguage, ofSite, t, useBundle, useLanguage } from "./words.js";
import { labelledFilms } from "./films.js";
import { SHORTCUTS, changeBundle, startWorklist, wordsChanged } from "./worklist.js";

const PAGES = ["worklist", "performance", "watch", "adapt", "about"];
const $ = (id) => document.getElementById(id);
let bundle = null;

function drawAbout(node) {
  const pairs = [["detector", `${bundle.name} ${bundle.version} (${bundle.architecture})`], ["use", bundle.intended_use], ["fittedOn", bundle.fitted_on],
    ["licence", bundle.licence], ["citation", bundle.citation], ["identity", bundle.sha256],
    ["accepts", bundle.accept.map((reason) => `${t(`reason.${reason}`)} (${reason})`).join(" ") || t("acceptsNone")]];
  const list = (name) => h("ul", {}, t(name).map((line) => h("li", {}, line)));
  node.replaceChildren(
    h("h1", {}, t("aboutTitle")), h("p", {}, h("strong", {}, t("notice"))),
    h("dl", { class: "pairs" }, pairs.flatMap(([name, value]) => [h("dt", {}, t(name)), h("dd", {}, value)])),
    // These speak about the detectors that ship.
    ...(ofSite ? [] : [h("h2", {}, t("notForTitle")), list("notFor"), h("h2", {}, t("limitsTitle")), list("limits")]),
    h("h2", {}, t("privacyTitle")), list("privacy"),
    h("h2", {}, t("moreTitle")), h("p", {}, t("moreText"), link("/v1/openapi.json", "openapi.json"), ", ", link("/metrics", "metrics.txt")));
}

const DRAW = {
  worklist: () => {},
  performance: async (node) => drawPerformance(node, bundle, await getJson("/v1/performance")),
  watch: drawWatch,
  adapt: (node) => drawAdapt(node, () => bundle, noticeBundle),
  about: drawAbout,
};

async function open(focus) {
  const wanted = location.hash.slice(1);
  const name = PAGES.includes(wanted) ? wanted : "worklist";
  for (const page of PAGES) $(`page-${page}`).hidden = page !== name;
  for (const link of document.querySelectorAll(".bar nav a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = name === "worklist" ? "pneumoscope" : `${t(name)} · pneumoscope`;
  if (focus) $("content").focus({ preventScroll: true });
  try {
    await DRAW[name]($(`page-${name}`));
  } catch (error) {
    $(`page-${name}`).replaceChildren(h("p", { role: "alert" }, error.message));
  }
}

function useTheme(theme) {
  document.documentElement.dataset.theme = theme;
  localStorage.setItem("theme", theme);
  $("theme").dataset.word = theme === "dark" ? "light" : "dark";
  $("theme").textContent = t($("theme").dataset.word);
}

function showKeys() {
  const rows = [["J ↓ / K ↑", "key_move"], ["E", "key_evidence"], ["I", "key_invert"], ["+ −", "key_zoom"], ["0 1", "key_fit"], ["W H", "key_tools"], ["V", "key_preset"], ["L", "key_loupe"], ["G", "key_caliper"], ["Esc", "key_delete"], ["[ ]", "key_rotate"], ["T", "key_flip"], ["Z", "key_reset"], ["C", "key_compare"], ["Y", "key_link"], ["Q", "key_header"], ["N P U", "key_label"], ["F", "key_filter"], ["O", "key_open"], ["?", "key_help"]];
  const dialog = $("keys-dialog");
  dialog.replaceChildren(h("h2", { id: "keys-title" }, t("keysTitle")),
    h("dl", { class: "pairs" }, rows.flatMap(([keys, name]) => [h("dt", {}, h("kbd", {}, keys)), h("dd", {}, t(name))])),
    h("form", { method: "dialog" }, h("p", {}, h("button", {}, t("close")))));
  dialog.showModal();
}

function onKey(event) {
  const typing = event.target.closest("input, select, textarea, dialog") && event.target.type !== "range";
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "?") showKeys();
  else if (!$("page-worklist").hidden && SHORTCUTS[event.key] && !(event.target.type === "range" && event.key.startsWith("Arrow"))) {
    event.preventDefault();
    SHORTCUTS[event.key](event);
  }
}

useLanguage(currentLanguage());
useTheme(localStorage.getItem("theme") || "dark");
$("language").value = currentLanguage();
$("language").addEventListener("change", (event) => {
  useLanguage(event.target.value);
  useTheme(document.documentElement.dataset.theme);
  wordsChanged();
  open(false);
});
$("theme").addEventListener("click", () => useTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
$("help").addEventListener("click", showKeys);
document.addEventListener("keydown", onKey);
window.addEventListener("hashchange", async () => {
  await noticeBundle().catch(() => {}); // what fails now is reported by the page that opens
  open(true);
});
document.addEventListener("visibilitychange", () => document.hidden || bundle === null || noticeBundle().catch(() => {}));
watchBundle((sha256) => sha256 !== bundle.sha256 && noticeBundle().catch(() => {}));

// Somebody may have switched the service to another bundle: what the page says and shows follows it.
let noticing = null;
function noticeBundle() {
  noticing ??= getJson("/v1/bundle").then((found) => {
    const before = bundle.sha256;
    bundle = found;
    if (found.sha256 === before) return;
    speakOf(found);
    changeBundle(found);
    open(false);
  }).finally(() => (noticing = null));
  return noticing;
}

function speakOf(found) {
  useBundle(found);
  useClassNames(found.classes, labelledFilms().length > 0);
  useLanguage(currentLanguage());
  useTheme(document.documentElement.dataset.theme);
}

try {
  bundle = await getJson("/v1/bundle");
  const offers = (path) => getJson(path).then(() => true, () => false);
  const [kept, adapts] = [await offers("/v1/history?limit=1"), await offers("/v1/adaptations")];
  for (const node of document.querySelectorAll("[data-adapts]")) node.hidden = !adapts;
  startWorklist(bundle, kept);
  speakOf(bundle);
  wordsChanged();
  await open(false);
  document.documentElement.dataset.ready = "yes";
} catch (error) {
  $("empty").textContent = error.message;
}
