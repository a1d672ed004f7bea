// The service behind the page. Nothing but what it answers is shown; nothing is sent elsewhere.
import { t } from "./words.js";

const TOGETHER = 4;
let key = sessionStorage.getItem("key") || "";
let asking = null;

export class Problem extends Error {
  constructor(told) {
    super(told.detail || told.title);
    this.code = (told.type || "").split("/").pop();
  }
}

function headers(more) {
  return key ? { ...more, Authorization: `Bearer ${key}` } : more;
}

async function call(path, options = {}) {
  for (;;) {
    let answer;
    try {
      answer = await fetch(path, { ...options, headers: headers(options.headers || {}) });
    } catch {
      throw new Problem({ type: "offline", detail: t("offline") });
    }
    if (answer.ok) return answer;
    if (answer.status === 401) {
      await askForKey();
      continue;
    }
    const told = await answer.json().catch(() => ({ title: `HTTP ${answer.status}` }));
    if (answer.status === 503 && told.type?.endsWith("/busy")) {
      // Others are before us: come back when told, not all at once.
      const seconds = Number(answer.headers.get("Retry-After")) || 1;
      await new Promise((done) => setTimeout(done, 1000 * seconds * (0.5 + Math.random())));
      continue;
    }
    throw new Problem(told);
  }
}

function askForKey() {
  asking ??= new Promise((done) => {
    const dialog = document.getElementById("key-dialog");
    dialog.innerHTML = "";
    const form = document.createElement("form");
    form.method = "dialog";
    const title = Object.assign(document.createElement("h2"), { id: "key-title", textContent: t("keyTitle") });
    const label = Object.assign(document.createElement("label"), { textContent: `${t("keyLabel")} ` });
    const input = Object.assign(document.createElement("input"), { type: "password", autocomplete: "off", required: true });
    const button = Object.assign(document.createElement("button"), { textContent: t("keyGo") });
    label.append(input);
    form.append(title, label, " ", button);
    dialog.append(form);
    dialog.addEventListener("close", () => {
      key = input.value.trim();
      sessionStorage.setItem("key", key);
      asking = null;
      done();
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

export const told = async (path) => (await call(path)).json();
export const remove = async (path) => (await call(path, { method: "DELETE" })).json();

// A few at a time: the service judges as many as it has processes, and keeps no backlog.
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

export const predict = (file, query) =>
  inTurn(async () => (await send(`/v1/predict?${new URLSearchParams({ file: file.name, ...query })}`, file)).json());

export async function levels(file) {
  const answer = await send("/v1/film", file);
  const [height, width, bits] = ["Height", "Width", "Bits"].map((name) => Number(answer.headers.get(`Film-${name}`)));
  const content = await answer.arrayBuffer();
  return { height, width, bits, values: bits === 8 ? new Uint8Array(content) : new Uint16Array(content) };
}

export const evidenceLayer = async (file) => (await send("/v1/evidence?alone=true", file)).blob();
