// Starts the page: which part is shown, in which language, by which keys.
import { h, save } from "./dom.js";
import { drawPerformance } from "./performance.js";
import { content, hasKey, told } from "./service.js";
import { drawWatch } from "./watch.js";
import { currentLanguage, ownClasses, t, useClasses, useLanguage } from "./words.js";
import { SHORTCUTS, startWorklist, wordsChanged } from "./worklist.js";

const PAGES = ["worklist", "performance", "watch", "about"];
const $ = (id) => document.getElementById(id);
let bundle = null;

function drawAbout(node) {
  const pairs = [["detector", `${bundle.name} ${bundle.version} (${bundle.architecture})`], ["use", bundle.intended_use], ["fittedOn", bundle.fitted_on],
    ["licence", bundle.licence], ["citation", bundle.citation], ["identity", bundle.sha256]];
  const list = (name) => h("ul", {}, t(name).map((line) => h("li", {}, line)));
  node.replaceChildren(
    h("h1", {}, t("aboutTitle")), h("p", {}, h("strong", {}, t("notice"))),
    h("dl", { class: "pairs" }, pairs.flatMap(([name, value]) => [h("dt", {}, t(name)), h("dd", {}, value)])),
    // These speak about the detectors that ship.
    ...(ownClasses ? [] : [h("h2", {}, t("notForTitle")), list("notFor"), h("h2", {}, t("limitsTitle")), list("limits")]),
    h("h2", {}, t("privacyTitle")), list("privacy"),
    h("h2", {}, t("moreTitle")), h("p", {}, t("moreText"), link("/v1/openapi.json", "openapi.json"), ", ", link("/metrics", "metrics.txt")));
}

// A plain link carries no key: with one, what it leads to is fetched and handed over as a file.
function link(path, name) {
  const failed = h("span", { role: "alert" });
  const fetchWithKey = async (event) => {
    if (!hasKey()) return;
    event.preventDefault();
    try {
      save(await content(path), name);
      failed.textContent = "";
    } catch (error) {
      failed.textContent = ` (${error.message})`;
    }
  };
  return [h("a", { href: path, onclick: fetchWithKey }, path), failed];
}

const DRAW = {
  worklist: () => {},
  performance: async (node) => drawPerformance(node, bundle, await told("/v1/performance")),
  watch: drawWatch,
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
  const rows = [["J ↓ / K ↑", "key_move"], ["E", "key_evidence"], ["I", "key_invert"], ["+ −", "key_zoom"], ["0", "key_fit"], ["W P", "key_tools"], ["C", "key_compare"], ["F", "key_filter"], ["O", "key_open"], ["?", "key_help"]];
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
    SHORTCUTS[event.key]();
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
window.addEventListener("hashchange", () => open(true));

try {
  bundle = await told("/v1/bundle");
  useClasses(bundle.classes);
  const kept = await told("/v1/history?limit=1").then(() => true, () => false);
  startWorklist(bundle, kept);
  useLanguage(currentLanguage());
  useTheme(document.documentElement.dataset.theme);
  await open(false);
  document.documentElement.dataset.ready = "yes";
} catch (error) {
  $("empty").textContent = error.message;
}
