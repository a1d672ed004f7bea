// Adapt to this site: from the films labelled on the worklist the service makes a detector, and may use it.
import { h, put } from "./dom.js";
import { LABELS, classNames, labelWord, nameFields, namesWrong } from "./labels.js";
import { link } from "./link.js";
import { reveal } from "./names.js";
import { acquisitionWarning, decidedOf, measured, moreFilms, patientsWarning, plain, siteVerdict } from "./performance.js";
import { fileOf, formOf, getJson, lastOnly, post, put as change, remove } from "./service.js";
import { bytes, count, currentLanguage, t } from "./words.js";
import { labelCounts, labelledFilms, unlabelledCount } from "./films.js";
import { FEWEST, stillToLabel } from "./finding.js";
import { referenceOf } from "./readings.js";

// Films sent together: few enough to arrive in time over a slow line.
const TOGETHER = 8, TOGETHER_BYTES = 16 * 2 ** 20;
const EVERY = 1000;

let sending = null; // { done, all, cancelled } while films are sent
let panel = null;
export const isSending = () => sending !== null;
let later = 0;
const look = lastOnly(); // at the adaptations of the service
let name = "site";

export async function drawAdapt(node, inUse, takeBundle) {
  clearTimeout(later);
  const isLast = look();
  panel = { inUse, takeBundle, problem: null, shown: "", switching: false };
  Object.assign(panel, { labels: h("div", { class: "card" }), work: h("div"), results: h("div"), alert: h("p", { class: "refused", role: "alert" }) });
  put(node, h("h1", {}, t("adaptTitle")), h("p", {}, t("adaptLead")), h("p", { class: "soft" }, t("adaptNeeds", { fewest: count(FEWEST) })), panel.alert);
  let found;
  try {
    found = await getJson("/v1/adaptations");
  } catch (error) {
    if (!isLast()) return;
    if (error.code !== "adaptations_off") throw error;
    node.append(h("p", { class: "warn", role: "note" }, t("adaptOff")));
    return;
  }
  if (!isLast()) return;
  node.append(h("div", { class: "columns" }, h("div", { class: "stack" }, panel.work, panel.labels), panel.results));
  drawForm();
  show(found);
}

// What is drawn once: its fields keep what is typed.
function drawForm() {
  panel.tiles = h("div", { class: "tiles counts" });
  panel.missing = h("p", { class: "soft", role: "status" });
  panel.start = h("button", { type: "submit", class: "main" }, t("adaptStart"));
  const named = h("input", { type: "text", id: "adapt-name", maxlength: 60, required: true, pattern: "[\\p{L}\\p{N}_ .,'\\(\\)+\\-]+", value: name, autocomplete: "off", oninput: (event) => (name = event.target.value) });
  put(panel.labels, h("h2", {}, t("adaptLabels")), panel.tiles,
    h("form", { onsubmit: (event) => { event.preventDefault(); start(); } },
      nameFields("adapt"), h("div", { class: "names" }, h("label", {}, t("adaptName"), named)), panel.missing, panel.start));
}

document.addEventListener("class-names", () => panel && panel.found && show(panel.found));

async function refresh() {
  clearTimeout(later);
  if (!panel?.labels.isConnected) return;
  const isLast = look();
  try {
    const found = await getJson("/v1/adaptations");
    if (isLast()) show(found);
  } catch (error) {
    if (!isLast()) return;
    say(error);
    later = setTimeout(refresh, 3 * EVERY);
  }
}

function show(found) {
  panel.found = found;
  const going = found.adaptations.find(({ state }) => ["collecting", "running"].includes(state));
  showLabels(Boolean(going));
  showWork(going);
  showResults(found.adaptations.filter((each) => each !== going));
  clearTimeout(later);
  // The page may be left, and come back to.
  if (going && !document.getElementById("page-adapt").hidden) later = setTimeout(refresh, EVERY);
}

function showLabels(busy) {
  const counts = labelCounts();
  const shown = [...LABELS.map((label, place) => [labelWord(label), counts[place], label]), [t("unlabelled"), unlabelledCount(), "soft"]];
  put(panel.tiles, shown.map(([word, number, kind]) => h("div", { class: "tile" }, h("div", { class: `label ${kind}` }, word), h("div", { class: "value" }, count(number)))));
  const hindrance = overLimits(labelledFilms()) || stillToLabel();
  panel.missing.textContent = hindrance;
  panel.start.disabled = busy || Boolean(sending) || Boolean(hindrance) || namesWrong();
}

// Why the service would refuse these films, before the first of them is sent; empty where it takes them.
function overLimits(items) {
  const { image_bytes: each, images, bytes: all } = panel.found.limits;
  // Films that the service keeps were small enough for it.
  const large = items.find(({ file }) => file?.size > each);
  const size = items.reduce((sum, { file }) => sum + (file?.size ?? 0), 0);
  if (large) return t("filmTooLarge", { name: large.name, size: bytes(large.file.size), limit: bytes(each) });
  if (items.length > images || size > all) return t("tooMuchToAdapt", { found: count(items.length), size: bytes(size), images: count(images), limit: bytes(all) });
  return "";
}

function showWork(going) {
  if (!going && !sending) {
    put(panel.work);
    panel.bar = null;
    return;
  }
  if (!panel.bar) {
    panel.bar = h("progress", { "aria-labelledby": "adapt-stage" });
    panel.stage = h("p", { id: "adapt-stage", role: "status" });
    panel.parts = h("p", { class: "soft" });
    panel.cancel = h("button", { type: "button", onclick: cancel }, t("cancel"));
    put(panel.work, h("div", { class: "card" }, h("h2", {}, t("adaptRunning")), panel.stage, panel.bar, panel.parts, panel.cancel));
  }
  const [done, all] = sending ? [sending.done, sending.all] : [going.done, going.total];
  const word = t(`stage.${going?.stage ?? ""}`);
  const stage = sending ? t("sending", { done: count(done), all: count(all) }) : going.state === "collecting" ? t("collecting") : word;
  // Said anew only where it changes.
  if (!sending || !panel.stage.textContent) panel.stage.textContent !== stage && (panel.stage.textContent = stage);
  panel.parts.textContent = sending ? stage : all ? t("ofParts", { done: count(done), all: count(all) }) : "";
  if (all) [panel.bar.max, panel.bar.value] = [all, done];
  else panel.bar.removeAttribute("value");
  panel.going = going;
}

async function cancel() {
  if (sending) sending.cancelled = true;
  else if (panel.going) await attempt(() => remove(`/v1/adaptations/${panel.going.id}`));
}

// A list that has changed is drawn again.
function showResults(ended) {
  const bundle = panel.inUse();
  const shown = JSON.stringify([ended, bundle.sha256, panel.switching, currentLanguage()]);
  if (shown === panel.shown) return;
  panel.shown = shown;
  const focused = panel.results.contains(document.activeElement) ? document.activeElement.id : "";
  put(panel.results, h("h2", {}, t("adaptResults")),
    h("p", {}, t("detectorInUse", { name: bundle.name, version: bundle.version }), " ",
      bundle.adaptation ? useButton("", t("useOriginal"), t("original")) : h("span", { class: "soft" }, `(${t("original")})`)),
    panel.switching ? h("p", { class: "soft", role: "status" }, t("switching")) : null,
    ended.length ? ended.map((each) => card(each, each.id === bundle.adaptation)) : h("p", { class: "soft" }, t("adaptNone")));
  if (focused) document.getElementById(focused)?.focus();
}

function card(each, used) {
  const { result, id } = each;
  const warning = result && acquisitionWarning(result.acquisition);
  const parent = result?.parent.auc;
  return h("div", { class: "card result" },
    h("h3", {}, reveal(each.name), " ", h("small", { class: "soft" }, each.classes.join(" / ")), used ? h("span", { class: "label used" }, t("inUse")) : null),
    each.problem ? [h("p", {}, t("failedAdaptation")), h("p", { lang: "en", class: "soft" }, reveal(each.problem))] : null,
    result ? [
      h("p", { class: result.made ? "" : "warn" }, siteVerdict(result)),
      result.made ? [measured(["auc", "sensitivity", "specificity"].map((key) => [key, result.cross_validated[key]])), h("p", { class: "soft" }, decidedOf(result))] : null,
      h("p", { class: "soft" }, t("beforeAdapting", { auc: plain(parent.value), low: plain(parent.low), high: plain(parent.high) }), " ", moreFilms(result.learning_curve)),
      [warning, patientsWarning(result)].map((words) => words && h("p", { class: "warn", role: "note" }, h("strong", {}, t("warning")), " ", words))] : null,
    h("p", { class: "soft" }, t("adaptedTo", { films: count(result?.films ?? each.negatives + each.positives), patients: result ? count(result.patients) : t("unknown"), began: new Date(each.began).toLocaleString(currentLanguage()) })),
    h("div", { class: "actions" },
      each.state === "made" && !used ? useButton(id, t("useIt"), reveal(each.name)) : null,
      used ? useButton("", t("useOriginal"), t("original"), "here") : null,
      result ? link(`/v1/adaptations/${id}/report`, "report.html", t("report"), { class: "button", target: "_blank" }) : null,
      each.state === "made" ? link(`/v1/adaptations/${id}/bundle`, `${id}.zip`, t("download"), { class: "button", download: `${id}.zip` }) : null,
      used ? null : h("button", { type: "button", id: `delete-${id}`, onclick: () => confirm(t("deleteAdaptation")) && attempt(() => remove(`/v1/adaptations/${id}`)) }, t("deleteOne"))));
}

const useButton = (id, words, name, where = "") =>
  h("button", { type: "button", id: `use-${id}${where}`, class: id ? "main" : "", disabled: panel.switching, onclick: () => use(id, name) }, words);

// A switch is one for all who use the service; their pages learn of it within seconds.
async function use(id, name) {
  if (!confirm(t("useForAll", { name }))) return;
  panel.switching = true;
  show(panel.found);
  await attempt(async () => panel.takeBundle(await change(`/v1/bundle?${new URLSearchParams({ adaptation: id })}`)));
  panel.switching = false;
  refresh();
}

function say(error) {
  panel.alert.textContent = error ? error.message : "";
}

async function attempt(act) {
  say(null);
  try {
    await act();
  } catch (error) {
    say(error);
  }
  await refresh();
}

// Parts of the films of one class, each for one request.
async function* parts(films, most) {
  let part = [], bytes = 0;
  for (const film of films) {
    const file = await fileOf(film);
    if (part.length && (part.length >= most || bytes + file.size > TOGETHER_BYTES)) {
      yield part;
      [part, bytes] = [[], 0];
    }
    part.push(file);
    bytes += file.size;
  }
  if (part.length) yield part;
}

async function start() {
  if (sending) return;
  const items = labelledFilms(), [negative, positive] = classNames();
  const most = Math.min(TOGETHER, panel.found.limits.request_images);
  const work = (sending = { done: 0, all: items.length, cancelled: false });
  panel.bar = null;
  panel.start.disabled = true;
  await attempt(async () => {
    let begun = null;
    try {
      begun = await post(`/v1/adaptations?${new URLSearchParams({ negative, positive, name: name.trim() || "site" })}`);
      for (const label of LABELS) {
        for await (const part of parts(items.filter((film) => referenceOf(film) === label), most)) {
          showWork(null);
          if (work.cancelled) {
            await remove(`/v1/adaptations/${begun.id}`);
            return;
          }
          await post(`/v1/adaptations/${begun.id}/images?label=${label}`, formOf(part));
          work.done += part.length;
        }
      }
      await post(`/v1/adaptations/${begun.id}/start`);
    } catch (error) {
      if (begun) await remove(`/v1/adaptations/${begun.id}`).catch(() => {});
      throw error;
    } finally {
      sending = null;
    }
  });
}
