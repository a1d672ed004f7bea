// The service behind the page. Nothing but its responses is shown; nothing is sent elsewhere.
import { h } from "./dom.js";
import { reveal } from "./names.js";
import { ownClasses, t } from "./words.js";

const TOGETHER = 4;
let key = sessionStorage.getItem("key") || "";
let asking = null;

export class Problem extends Error {
  constructor(problem) {
    const code = (problem.type || "").split("/").pop();
    const word = t(`problem.${code}`);
    super(word === `problem.${code}` ? reveal(problem.detail || problem.title || "") : word);
    this.code = code;
  }
}

export const hasKey = () => key !== "";

function headers(more) {
  return key ? { ...more, Authorization: `Bearer ${key}` } : more;
}

// The response, whatever it says; a key is asked for where one is needed.
export async function respond(path, options = {}) {
  for (;;) {
    let response;
    const sent = key;
    try {
      response = await fetch(path, { ...options, headers: headers(options.headers || {}) });
    } catch {
      throw new Problem({ type: "offline", detail: t("offline") });
    }
    if (response.status !== 401) return response;
    // Another request may have opened the dialog meanwhile.
    if (sent === key) await askForKey(sent !== "");
  }
}

async function call(path, options = {}) {
  for (;;) {
    const response = await respond(path, options);
    if (response.ok) return response;
    const problem = await response.json().catch(() => ({ title: `HTTP ${response.status}` }));
    if (response.status === 503 && problem.type?.endsWith("/busy")) {
      // Others are before us: come back when the header says, not all at once.
      const seconds = Number(response.headers.get("Retry-After")) || 1;
      await new Promise((done) => setTimeout(done, 1000 * seconds * (0.5 + Math.random())));
      continue;
    }
    throw new Problem(problem);
  }
}

function askForKey(refused) {
  asking ??= new Promise((done) => {
    const dialog = document.getElementById("key-dialog");
    const input = h("input", { type: "password", autocomplete: "off", required: true, "aria-describedby": refused ? "key-refused" : null });
    const form = h("form", { method: "dialog" },
      h("h2", { id: "key-title" }, t("keyTitle")),
      refused ? h("p", { id: "key-refused", class: "refused", role: "alert" }, t("keyRefused")) : null,
      h("label", {}, `${t("keyLabel")} `, input), " ", h("button", {}, t("keyGo")));
    dialog.replaceChildren(form);
    dialog.addEventListener("close", () => {
      // What no header can carry is no key.
      const typed = input.value.trim(), fits = /^[!-~]*$/.test(typed);
      key = fits ? typed : "";
      sessionStorage.setItem("key", key);
      asking = null;
      done(fits ? null : askForKey(true));
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

export const getJson = async (path) => (await call(path)).json();
export const content = async (path) => (await call(path)).blob();
export const remove = async (path) => (await call(path, { method: "DELETE" })).json();
export const put = async (path) => (await call(path, { method: "PUT" })).json();
export const post = async (path, body) => (await call(path, { method: "POST", body })).json();
const asJson = (method) => async (path, value) => (await call(path, { method, body: JSON.stringify(value), headers: { "Content-Type": "application/json" } })).json();
export const postJson = asJson("POST");
export const putJson = asJson("PUT");

// File of a film; of one that another machine sent, the service has it.
export const fileOf = async (film) => (film.file ??= new File([await content(`/v1/films/${film.sha256}`)], film.name));

// A form of files.
export function formOf(files) {
  const form = new FormData();
  for (const file of files) form.append("files", file, file.name);
  return form;
}

// A prediction as the page uses it: a site's own classes stand as normal and pneumonia in `decision`, `outcome` is the name of
// the class, and the probability has one name for all. The history may hold predictions of bundles with other classes.
function normalised(prediction) {
  const { decision: outcome, probability, class_probability: classes } = prediction;
  if (probability === undefined) return { ...prediction, outcome };
  const names = ownClasses?.includes(outcome) ? ownClasses : Object.keys(classes ?? {});
  const decision = ["normal", "pneumonia"][names.indexOf(outcome)] ?? outcome;
  return { ...prediction, outcome, decision, pneumonia_probability: probability };
}

// A few at a time: the service predicts as many as it has processes, and keeps no backlog.
let running = 0;
const waiting = [];
async function inTurn(work) {
  if (running >= TOGETHER) await new Promise((go) => waiting.push(go));
  running += 1;
  try {
    return await work();
  } finally {
    running -= 1;
    waiting.shift()?.();
  }
}

const send = (path, file) =>
  call(path, { method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" } });

// Called with the hash of the bundle that made a prediction: it may be another one than the page knows.
let onBundle = () => {};
export const watchBundle = (act) => (onBundle = act);

export const predict = (film) =>
  inTurn(async () => {
    const file = await fileOf(film);
    const response = await send(`/v1/predict?${new URLSearchParams({ file: film.name })}`, file);
    const prediction = await response.json();
    onBundle(prediction.bundle.sha256);
    // Whose film it is and of which day is of use on the page alone, and is no part of the record.
    return { ...normalised(prediction), patient: response.headers.get("Film-Patient"), taken: response.headers.get("Film-Date") };
  });

const entriesOf = async (path) => (await getJson(path)).entries.map((entry) => ({ ...entry, prediction: normalised(entry.prediction) }));
export const history = (query) => entriesOf(`/v1/history?${query}`);
// Films that the service keeps, each with the newest decision on it.
export const keptFilms = () => entriesOf("/v1/films");

export async function levels(file) {
  const response = await send("/v1/film", file);
  const [height, width, bits] = ["Height", "Width", "Bits"].map((name) => Number(response.headers.get(`Film-${name}`)));
  const content = await response.arrayBuffer();
  const header = JSON.parse(response.headers.get("Film-Header") ?? "null");
  return { height, width, bits, header, values: bits === 8 ? new Uint8Array(content) : new Uint16Array(content) };
}

// The map as a picture, and the fractions of the evidence for pneumonia by lung zone, null where the lungs were not placed.
export async function evidence(file) {
  const response = await send("/v1/evidence?alone=true", file);
  return { picture: await response.blob(), zones: JSON.parse(response.headers.get("Lung-Zones") ?? "null") };
}
