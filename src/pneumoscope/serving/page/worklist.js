// Films dropped on the page, with their predictions, sorted by urgency; the chosen one on the stage.
import { h, mark, put, s, save } from "./dom.js";
import { exportLabels, LABELS, labelWord, nameFields, namesWrong } from "./labels.js";
import { reveal } from "./names.js";
import { predict } from "./service.js";
import { evidenceOf, forgetFilms, Stage, thumbnail } from "./viewer.js";
import { count, ownClasses, percent, t } from "./words.js";

const DECISIONS = ["pneumonia", "refer", "normal", "rejected"];
const $ = (id) => document.getElementById(id);
const urgency = (item) => (item.prediction ? DECISIONS.indexOf(item.prediction.decision) : item.problem ? 4 : 5);
const chanceOf = (item) => item.prediction?.pneumonia_probability ?? -1;

let items = [];
let chosen = null;
let filter = "all";
let next = 0;
let picked = false; // by a person
let bundle = null;
let drawing = 0;
let allDone = 0; // films, where all have a prediction
const stages = [];

export function startWorklist(inUse, kept) {
  bundle = inUse;
  offerPoints();
  $("prevalence").value = 100 * bundle.prevalence;
  $("drop").querySelector("[data-word=dropMore]").dataset.word = kept ? "dropMoreKept" : "dropMore";
  stages.push(new Stage(refreshTools));
  $("stages").append(stages[0].node);

  $("files").addEventListener("change", (event) => {
    add([...event.target.files]);
    event.target.value = "";
  });
  for (const [name, act] of Object.entries({ dragover: true, dragenter: true, dragleave: false, drop: false })) {
    document.addEventListener(name, (event) => {
      event.preventDefault();
      document.body.classList.toggle("dropping", act);
      if (name === "drop") dropped(event.dataTransfer).then(add);
    });
  }
  $("operating-point").addEventListener("change", predictAgain);
  $("prevalence").addEventListener("change", (event) => {
    const value = Number(event.target.value);
    if (!(value > 0 && value < 100)) event.target.value = 100 * bundle.prevalence;
    predictAgain();
  });
  $("csv").addEventListener("click", exportCsv);
  $("label-names").append(nameFields("worklist"));
  document.addEventListener("class-names", redraw);
  for (const label of LABELS) $(`label-${label}`).addEventListener("click", () => setLabel(label));
  $("csv-labels").addEventListener("click", () => exportLabels(labelledItems()));
  window.addEventListener("beforeunload", (event) => labelledItems().length && event.preventDefault());
  $("print").addEventListener("click", printReport);
  $("clear").addEventListener("click", clear);
  $("tool-window").addEventListener("click", () => useTool("window"));
  $("tool-pan").addEventListener("click", () => useTool("pan"));
  $("zoom-in").addEventListener("click", () => each((stage) => stage.zoomBy(1.25)));
  $("zoom-out").addEventListener("click", () => each((stage) => stage.zoomBy(0.8)));
  $("fit").addEventListener("click", () => each((stage) => stage.fit()));
  $("invert").addEventListener("click", invert);
  $("compare").addEventListener("click", compare);
  $("evidence").addEventListener("input", (event) => each((stage) => stage.showEvidence(event.target.value / 100)));
  redraw();
}

function offerPoints() {
  const select = $("operating-point"), before = select.value;
  const names = Object.keys(bundle.operating_points);
  select.replaceChildren(...names.map((name) => h("option", { value: name })));
  select.value = names.includes(before) ? before : "balanced";
}

// The service predicts with another bundle: nothing of the one before is shown as its own.
export function changeBundle(inUse) {
  if (Number($("prevalence").value) === 100 * bundle.prevalence) $("prevalence").value = 100 * inUse.prevalence;
  bundle = inUse;
  offerPoints();
  for (const item of items) item.prediction = null;
  $("announcement").textContent = t("bundleChanged", { name: bundle.name, version: bundle.version });
  predictAgain();
  wordsChanged();
}

const each = (act) => stages.forEach(act);

// File to its path in the folder that was dropped.
const paths = new WeakMap();

// Folders too, with what lies in them.
async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files];
  const found = [];
  const walk = async (entry) => {
    if (entry.isFile) {
      const file = await new Promise((done, fail) => entry.file(done, fail));
      paths.set(file, entry.fullPath.slice(1));
      found.push(file);
    }
    else {
      const reader = entry.createReader();
      for (;;) {
        const some = await new Promise((done, fail) => reader.readEntries(done, fail));
        if (!some.length) break;
        for (const inner of some) await walk(inner);
      }
    }
  };
  for (const entry of entries) await walk(entry);
  return found.filter((file) => !file.name.startsWith("."));
}

function add(files) {
  for (const file of files) {
    const item = { id: next++, file, name: reveal(file.name), path: paths.get(file) ?? file.name, prediction: null, problem: null, label: null };
    items.push(item);
    predictItem(item);
  }
  redraw();
}

async function predictItem(item) {
  const request = (item.request = {});
  try {
    const prediction = await predict(item.file, { operating_point: $("operating-point").value, prevalence: $("prevalence").value / 100 });
    if (item.request !== request) return; // requested anew since
    item.prediction = prediction;
    item.problem = null;
  } catch (error) {
    if (item.request !== request) return;
    item.problem = error;
  }
  if (!chosen && items.includes(item) && item.prediction) choose(item);
  // When all have a prediction the most urgent is shown, unless a person has chosen another.
  if (!picked && items.every((other) => other.prediction || other.problem) && visible()[0]) choose(visible()[0]);
  if (item === chosen) stages[0].label();
  redraw();
}

function predictAgain() {
  for (const item of items) predictItem(item);
  redraw();
}

// Films that a person has labelled; none that the service could not take.
export const labelledItems = () => items.filter((item) => item.label && !item.problem);
export const unlabelledCount = () => items.filter((item) => !item.label && !item.problem).length;

// Names of films that are the same image with two labels, else null.
export function contradiction() {
  const first = new Map();
  for (const item of labelledItems()) {
    const other = item.prediction && first.get(item.prediction.sha256);
    if (other && other.label !== item.label) return [other.name, item.name];
    if (item.prediction && !other) first.set(item.prediction.sha256, item);
  }
  return null;
}

// The same label again removes it.
function setLabel(label) {
  if (!chosen) return;
  chosen.label = chosen.label === label ? null : label;
  const said = chosen.label ? t("labelled", { name: chosen.name, label: labelWord(chosen.label) }) : t("labelRemoved", { name: chosen.name });
  $("announcement").textContent = said;
  redraw();
}

function clear() {
  if (labelledItems().length && !confirm(t("forgetLabels"))) return;
  for (const item of items) if (item.url) URL.revokeObjectURL(item.url);
  items = [];
  chosen = null;
  picked = false;
  forgetFilms();
  if (stages.length > 1) compare();
  stages[0].show(null);
  redraw();
}

const visible = () =>
  items
    .filter((item) => filter === "all" || item.prediction?.decision === filter)
    .sort((a, b) => urgency(a) - urgency(b) || chanceOf(b) - chanceOf(a) || a.id - b.id);

// Many predictions arrive together: the list is drawn once a frame.
export function redraw() {
  drawing ||= requestAnimationFrame(() => {
    drawing = 0;
    drawFilters();
    drawList();
    drawVerdict();
    drawLabels();
    const done = items.filter((item) => item.prediction || item.problem).length;
    $("progress").hidden = done === items.length;
    $("progress").max = Math.max(1, items.length);
    $("progress").value = done;
    const whole = Boolean(items.length) && done === items.length;
    // Said once: what follows is not to be said over.
    if (whole && allDone !== done) $("announcement").textContent = t("analysedCount", { done: count(done), all: count(items.length) });
    allDone = whole ? done : 0;
    for (const id of ["csv", "print", "clear"]) $(id).disabled = !done;
    for (const option of $("operating-point").options) option.textContent = t(option.value);
  });
}

function drawFilters() {
  const counts = Object.fromEntries(DECISIONS.map((name) => [name, items.filter((item) => item.prediction?.decision === name).length]));
  const button = (name, number) =>
    h("button", { type: "button", "data-filter": name, "aria-pressed": String(filter === name), class: name, onclick: () => setFilter(name) }, `${t(name)} ${count(number)}`);
  const focused = document.activeElement?.dataset?.filter;
  $("filters").replaceChildren(button("all", items.length), ...DECISIONS.map((name) => button(name, counts[name])));
  if (focused) $("filters").querySelector(`[data-filter=${focused}]`).focus();
}

function drawLabels() {
  const labelled = labelledItems();
  const counts = LABELS.map((label) => `${count(labelled.filter((item) => item.label === label).length)} ${labelWord(label)}`);
  $("label-counts").textContent = counts.join(", ");
  $("csv-labels").disabled = !labelled.length || namesWrong();
  for (const label of LABELS) {
    const button = $(`label-${label}`);
    button.textContent = labelWord(label);
    button.disabled = !chosen || Boolean(chosen.problem);
    button.setAttribute("aria-pressed", String(chosen?.label === label));
  }
  $("detector").textContent = t("detectorInUse", { name: bundle.name, version: bundle.version });
}

function setFilter(name) {
  filter = name;
  redraw();
}

function drawList() {
  const list = visible();
  const focused = document.activeElement?.dataset?.film;
  $("films").replaceChildren(...list.map(row));
  if (focused) $("films").querySelector(`[data-film="${focused}"]`)?.focus({ preventScroll: true });
  $("empty").hidden = Boolean(list.length);
  $("empty").textContent = t(items.length ? "emptyFilter" : "empty");
}

function row(item) {
  const { prediction, problem } = item;
  const pinned = stages.length > 1 && stages[1].item === item;
  return h("li", {},
    h("button", { type: "button", "data-film": item.id, "aria-current": String(item === chosen), onclick: () => pick(item) },
      picture(item),
      h("span", { class: pinned ? "file pin" : "file", title: item.name }, item.name),
      h("span", { class: "said" },
        prediction ? h("span", { class: `decision ${prediction.decision}` }, t(prediction.decision)) : h("span", { class: "waiting" }, problem ? t("failed") : t("waiting")),
        item.label ? h("span", { class: `label ${item.label}` }, h("span", { class: "unseen" }, t("labelOf"), " "), labelWord(item.label)) : null),
      h("span", {}, prediction?.pneumonia_probability != null && !prediction.validated ? mark("!", t("notValidated")) : null,
        h("span", { class: "chance" }, prediction?.pneumonia_probability == null ? "" : percent(prediction.pneumonia_probability))),
      prediction?.pneumonia_probability == null
        ? h("small", { class: "soft" }, prediction ? t(`reason.${prediction.reasons[0]}`) : problem?.message ?? "")
        : meter(prediction)));
}

function picture(item) {
  const image = h("img", { class: "thumb", alt: "", width: 52, height: 52 });
  if (item.thumb) image.src = item.thumb;
  else if (item.url) image.src = item.url;
  else if (/\.(jpe?g|png)$/i.test(item.name)) {
    image.src = item.url = URL.createObjectURL(item.file);
  } else if (item.prediction && !item.thumbRequested && !["unreadable", "unsupported_dicom"].includes(item.prediction.reasons[0])) {
    item.thumbRequested = true;
    thumbnail(item, 104).then((url) => {
      item.thumb = url;
      redraw();
    }, () => {});
  }
  if (!image.src) return h("span", { class: "thumb", "aria-hidden": "true" });
  image.addEventListener("error", () => image.replaceWith(h("span", { class: "thumb", "aria-hidden": "true" })));
  return image;
}

// The probability as a bar, with the operating point marked.
function meter(prediction, labelled = false) {
  const at = 100 * prediction.operating_point.threshold;
  const colour = prediction.decision;
  return h("div", { class: "meter", role: "img", "aria-label": `${t("chance")} ${percent(prediction.pneumonia_probability)}; ${t("threshold", { value: percent(prediction.operating_point.threshold) })}` },
    s("svg", { "aria-hidden": "true", class: colour },
      s("rect", { x: 0, y: 0, height: "100%", width: `${100 * prediction.pneumonia_probability}%`, rx: 3, fill: "currentColor" }),
      s("line", { x1: `${at}%`, x2: `${at}%`, y1: -3, y2: "100%", stroke: "var(--text)", "stroke-width": 2 }),
      s("line", { x1: `${at}%`, x2: `${at}%`, y1: "100%", y2: "150%", stroke: "var(--text)", "stroke-width": 2 }),
      labelled ? s("text", { x: `${at}%`, y: 27, "text-anchor": at > 75 ? "end" : at < 25 ? "start" : "middle" }, t("threshold", { value: percent(prediction.operating_point.threshold) })) : null));
}

function drawVerdict() {
  const prediction = chosen?.prediction;
  if (!prediction) {
    $("verdict").replaceChildren(h("p", { class: "soft" }, chosen?.problem?.message ?? (chosen ? t("waiting") : "")));
    return;
  }
  const hasProbability = prediction.pneumonia_probability != null;
  const kinds = kindsOf(prediction);
  put($("verdict"),
    h("div", { class: "top" },
      h("span", { class: `decision ${prediction.decision}` }, t(prediction.decision)),
      hasProbability ? h("span", { class: "chance" }, `${t("chance")}: ${percent(prediction.pneumonia_probability)}${prediction.validated ? "" : ` (${t("notValidated")})`}`) : null,
      prediction.decision === "refer" ? h("span", {}, t("referAdvice")) : null),
    hasProbability ? meter(prediction, true) : null,
    prediction.reasons.map((reason) => h("p", {}, t(`reason.${reason}`), " ", h("small", { class: "soft" }, reason))),
    prediction.detail ? h("p", { class: "soft" }, reveal(prediction.detail)) : null,
    hasProbability && kinds && prediction.decision !== "normal" ? h("p", { class: "weak" }, t("weak", { kinds })) : null,
    hasProbability && prediction.decision !== "normal" ? zonesOf(chosen) : null,
    hasProbability ? h("p", { class: "weak" }, t("at", {
      name: t(prediction.operating_point.name), sensitivity: percent(prediction.operating_point.sensitivity),
      specificity: percent(prediction.operating_point.specificity), films: prediction.operating_point.fitted_on })) : null,
    h("p", { class: "ids" }, t("predictedBy", { name: prediction.bundle.name, version: prediction.bundle.version, bundle: prediction.bundle.sha256.slice(0, 12), file: prediction.sha256.slice(0, 12) })));
}

// Of a pneumonia, by kind, in shares of the pneumonia.
function kindsOf(prediction) {
  const found = Object.entries(prediction.class_probability ?? {}).slice(1);
  if (found.length < 2) return ""; // of two classes, the second is no kind
  const sum = found.reduce((all, [, value]) => all + value, 0);
  return sum ? found.map(([name, value]) => `${t(name)} ${percent(value / sum, 0)}`).join(", ") : "";
}

// Lung zones with at least 20 % of the evidence, as `inference/zones.py` names them; requested when a film is first shown.
function zonesOf(item) {
  if (item.zones === undefined) {
    evidenceOf(item).then(({ zones }) => {
      item.zones = zones;
      if (item === chosen) drawVerdict();
    }, () => {});
    return h("p", { class: "soft" }, t("zonesWait"));
  }
  if (!item.zones) return h("p", {}, t("notPlaced"));
  const named = Object.entries(item.zones).filter(([, share]) => share >= 0.2).sort(([, a], [, b]) => b - a);
  const words = named.map(([name, share]) => `${t(`zone.${name}`)} ${percent(share, 0)}`).join(", ");
  return h("p", {}, t("zones", { zones: words || t("noZone") }));
}

function choose(item) {
  const waits = stages.length > 1 && !stages[1].item;
  if (waits && item !== chosen) {
    stages[1].show(item);
    redraw();
    return;
  }
  chosen = item;
  stages[0].show(item);
  redraw();
}

function pick(item) {
  picked = true;
  choose(item);
}

function move(step) {
  const list = visible();
  if (!list.length) return;
  const at = list.indexOf(chosen);
  pick(list[Math.min(list.length - 1, Math.max(0, at + step))]);
  requestAnimationFrame(() => requestAnimationFrame(() =>
    $("films").querySelector("[aria-current=true]")?.scrollIntoView({ block: "nearest" })));
}

function useTool(tool) {
  each((stage) => stage.use(tool));
  $("tool-window").setAttribute("aria-pressed", String(tool === "window"));
  $("tool-pan").setAttribute("aria-pressed", String(tool === "pan"));
}

function invert() {
  each((stage) => stage.film && stage.invert());
  refreshTools();
}

function refreshTools() {
  $("invert").setAttribute("aria-pressed", String(stages[0].inverted));
}

function compare() {
  if (stages.length > 1) {
    const [gone] = stages.splice(1);
    gone.onLook.disconnect();
    gone.node.remove();
  } else {
    const second = new Stage(() => {});
    second.use(stages[0].tool);
    second.evidence = stages[0].evidence;
    second.say(t("chooseCompare"));
    stages.push(second);
    $("stages").append(second.node);
  }
  $("compare").setAttribute("aria-pressed", String(stages.length > 1));
  redraw();
}

function toggleEvidence() {
  const slider = $("evidence");
  slider.value = slider.value > 0 ? 0 : 70;
  slider.dispatchEvent(new Event("input"));
}

function nextFilter() {
  const all = ["all", ...DECISIONS];
  setFilter(all[(all.indexOf(filter) + 1) % all.length]);
}

export const SHORTCUTS = {
  j: () => move(1), ArrowDown: () => move(1), k: () => move(-1), ArrowUp: () => move(-1),
  e: toggleEvidence, i: invert, "+": () => each((stage) => stage.zoomBy(1.25)), "-": () => each((stage) => stage.zoomBy(0.8)),
  0: () => each((stage) => stage.fit()), w: () => useTool("window"), h: () => useTool("pan"), c: compare, f: nextFilter, o: () => $("files").click(),
  n: () => setLabel("negative"), p: () => setLabel("positive"), u: () => chosen?.label && setLabel(chosen.label),
};

export function wordsChanged() {
  if (!stages.length) return;
  each((stage) => (stage.item ? stage.label() : stage.say(t(stage === stages[0] ? "choose" : "chooseCompare"))));
  redraw();
}

const ZONES = ["right_upper", "right_middle", "right_lower", "left_upper", "left_middle", "left_lower", "outside"];

// The same columns as `pneumoscope predict --out FILE.csv`.
function exportCsv() {
  const classes = ownClasses ?? ["normal", "bacterial", "viral"];
  const header = ["file", "sha256", "decision", "reasons", "detail", ownClasses ? "probability" : "pneumonia_probability", ...classes.map((name) => `${name}_probability`),
    "operating_point", "threshold", "sensitivity", "specificity", "fitted_on", "evidence", "bundle_name", "bundle_version", "bundle_sha256", "notice", "validated", ...ZONES.map((name) => `zone_${name}`)];
  const rows = items.filter((item) => item.prediction).map(({ prediction }) => [prediction.file, prediction.sha256, prediction.outcome, prediction.reasons.join(";"), prediction.detail,
    prediction.pneumonia_probability, ...classes.map((name) => prediction.class_probability?.[name]), prediction.operating_point.name, prediction.operating_point.threshold,
    prediction.operating_point.sensitivity, prediction.operating_point.specificity, prediction.operating_point.fitted_on, prediction.evidence, prediction.bundle.name, prediction.bundle.version, prediction.bundle.sha256, prediction.notice, prediction.validated, ...ZONES.map((name) => prediction.zones?.[name])]);
  // A cell that begins like a formula would be run by a spreadsheet.
  const cell = (value) => {
    const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value ?? "");
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const text = [header, ...rows].map((values) => values.map(cell).join(",")).join("\n");
  save(new Blob([`${text}\n`], { type: "text/csv" }), "pneumoscope.csv");
}

// Films with their predictions on paper; of normal and rejected ones the picture is left out when there are many.
async function printReport() {
  const predicted = items.filter((item) => item.prediction).sort((a, b) => urgency(a) - urgency(b) || chanceOf(b) - chanceOf(a) || a.id - b.id);
  const pictures = await Promise.all(predicted.map((item, place) =>
    place < 60 && item.prediction.reasons[0] !== "unreadable" ? (item.print ??= thumbnail(item, 240).catch(() => null)) : null));
  const parts = DECISIONS.map((name) => [name, predicted.filter((item) => item.prediction.decision === name).length])
    .filter(([, number]) => number).map(([name, number]) => `${count(number)} ${t(name)}`).join(", ");
  const one = predicted[0].prediction;
  $("report").replaceChildren(
    h("h1", {}, `pneumoscope: ${t("reportTitle")}`),
    h("p", { class: "warn" }, t("notice")),
    h("p", {}, `${t("reportCount", { count: count(predicted.length), parts })} ${new Date().toLocaleString(document.documentElement.lang)}`),
    h("p", {}, h("small", {}, t("at", { name: t(one.operating_point.name), sensitivity: percent(one.operating_point.sensitivity),
      specificity: percent(one.operating_point.specificity), films: one.operating_point.fitted_on }))),
    h("table", {},
      h("thead", {}, h("tr", {}, ["film", "file", "decision", "probability", "why"].map((name) => h("th", {}, t(name))))),
      h("tbody", {}, predicted.map(({ prediction, name }, place) => h("tr", {},
        h("td", {}, pictures[place] ? h("img", { src: pictures[place], alt: "" }) : ""),
        h("td", {}, name, h("br"), h("small", {}, prediction.sha256.slice(0, 16))),
        h("td", {}, h("strong", {}, t(prediction.decision))),
        h("td", {}, prediction.pneumonia_probability == null ? t("unknown") : percent(prediction.pneumonia_probability)),
        h("td", {}, [...prediction.reasons.map((reason) => t(`reason.${reason}`)), prediction.decision === "pneumonia" ? kindsOf(prediction) : ""].filter(Boolean).join(" ")))))),
    h("p", {}, h("small", {}, `${one.bundle.name} ${one.bundle.version}, ${one.bundle.sha256}`)));
  $("report").hidden = false;
  await Promise.all([...$("report").querySelectorAll("img")].map((image) => image.decode().catch(() => {})));
  window.print();
}
