// The service behind the page. Nothing but its responses is shown; nothing is sent elsewhere.
import { h } from "./dom.js";
import { reveal } from "./names.js";
import { ownClasses, t } from "./words.js";

// Many small requests cost a browser more time than the service needs to predict what is in them.
const REQUESTS = 3, TOGETHER = 8, TOGETHER_BYTES = 16 * 2 ** 20;
// What the service was started to do: to keep decisions, to keep films, to adapt; `pacs` is what it can do with a PACS, null for none.
export const offers = { history: false, films: false, adaptations: false, pacs: null };
let key = sessionStorage.getItem("key") || "";
let asking = null;

export class Problem extends Error {
  constructor(problem) {
    const code = (problem.type || "").split("/").pop();
    const word = t(`problem.${code}`);
    super(word === `problem.${code}` ? reveal(problem.detail || problem.title || "") : word);
    this.code = code;
    this.detail = reveal(problem.detail || "");
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
export const postCsv = async (path, body) => (await call(path, { method: "POST", body, headers: { "Content-Type": "text/csv" } })).json();

const addressOf = ({ study, series, instance }) => `/v1/pacs/studies/${study}/series/${series}/instances/${instance}`;
export const searchPacs = (wanted) => postJson("/v1/pacs/search", wanted);
export const studyImages = (study) => getJson(`/v1/pacs/studies/${study}`);
export const sendAnswers = (film, confirmed) => post(`${addressOf(film.pacs)}/answers?${new URLSearchParams(confirmed)}`);

// File of a film; of one that another machine sent, the service has it, and of one of the PACS that one. Fetched once, whoever waits for it.
export async function fileOf(film) {
  film.fetching ??= film.file ?? content(film.pacs ? addressOf(film.pacs) : `/v1/films/${film.sha256}`).then((found) => new File([found], film.name));
  try {
    return (film.file = await film.fetching);
  } finally {
    film.fetching = null;
  }
}

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

const send = (path, file) =>
  call(path, { method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" } });

// Answers come in any order. Each call of what it gives begins a request, and gives whether that is still the last one.
export function lastOnly() {
  let begun = 0;
  return () => {
    const own = (begun += 1);
    return () => own === begun;
  };
}

// Called with the hash of the bundle that made a prediction: it may be another one than the page knows. The prediction waits for it.
let onBundle = async () => {};
export const watchBundle = (act) => (onBundle = act);

// Films wait until a request takes them, each with what its caller waits for.
const waiting = [];
let requests = 0;

export const predict = (film) =>
  new Promise((done, fail) => {
    if (film.file?.size === 0) throw new Problem({ type: "empty_file" });
    waiting.push({ film, done, fail });
    queueMicrotask(sendNext);
  });

// What waits is not sent any more.
export function forgetWaiting() {
  for (const { fail } of waiting.splice(0)) fail(new Problem({ title: "" }));
}

async function sendNext() {
  while (waiting.length && requests < REQUESTS) {
    requests += 1;
    sendPart(takePart()).finally(() => {
      requests -= 1;
      sendNext();
    });
  }
}

// Films for one request; few films are spread over all requests.
function takePart() {
  const most = Math.min(TOGETHER, Math.ceil(waiting.length / (REQUESTS - requests + 1)));
  const part = [waiting.shift()];
  let bytes = part[0].film.file?.size ?? Infinity;
  while (part.length < most && waiting.length && plain(part[0].film) && plain(waiting[0].film) && (bytes += waiting[0].film.file?.size ?? Infinity) <= TOGETHER_BYTES) part.push(waiting.shift());
  return part;
}

// In a form some characters of a name would be written otherwise.
const plain = ({ name }) => !/["\r\n]/.test(name);

async function sendPart(part) {
  try {
    const found = await predictTogether(part.map(({ film }) => film));
    part.forEach(({ done }, place) => done(found[place]));
  } catch (error) {
    if (part.length === 1) part[0].fail(error);
    // What is wrong with one film is no reason to refuse the others.
    else for (const each of part) await sendPart([each]);
  }
}

async function predictTogether(films) {
  const files = await Promise.all(films.map(fileOf));
  const [response, found] = films.length > 1 ? await both("/v1/predict/batch", { method: "POST", body: formOf(files) })
    : await both(`/v1/predict?${new URLSearchParams({ file: films[0].name })}`, { method: "POST", body: files[0], headers: { "Content-Type": "application/octet-stream" } });
  // Whose film it is and of which day is of use on the page alone, and is no part of the record.
  const [patients, dates] = ["Film-Patient", "Film-Date"].map((name) => (response.headers.get(name) ?? "").split(","));
  const predictions = [found].flat();
  for (const sha256 of new Set(predictions.map(({ bundle }) => bundle.sha256))) await onBundle(sha256);
  return predictions.map((prediction, place) => ({ ...normalised(prediction), patient: patients[place]?.trim() || null, taken: dates[place]?.trim() || null }));
}

async function both(path, options) {
  const response = await call(path, options);
  return [response, await response.json()];
}

const entriesOf = async (path) => (await getJson(path)).entries.map((entry) => ({ ...entry, prediction: normalised(entry.prediction) }));
export const history = (query) => entriesOf(`/v1/history?${query}`);
// Films that the service keeps, each with the newest decision on it, as if it had just been predicted.
export const keptFilms = async () =>
  (await entriesOf("/v1/films")).map(({ prediction, patient, taken }) => ({ ...prediction, patient: patient || null, taken: taken || null }));

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
