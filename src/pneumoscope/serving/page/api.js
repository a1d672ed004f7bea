// Every route of the service, from its own OpenAPI schema: what it takes, what it gives, how to call it; to try here.
import { LANGUAGES } from "./calls.js";
import { h, put, save } from "./dom.js";
import { drawFrame, startFrame } from "./frame.js";
import { link } from "./link.js";
import { fold, kinds, limits, parts, rich, target, typeOf } from "./schema.js";
import { getJson, hasKey, respond } from "./service.js";
import { count, t, useBundle } from "./words.js";

const page = document.getElementById("api");
// Text of a response that is shown; more is handed over as a file.
const LONGEST = 20_000;
const METHODS = ["get", "post", "put", "delete"];
let schema = null;
let shown = "curl";

const all = () => schema.components.schemas;
const word = (name, otherwise) => (t(name) === name ? otherwise : t(name));

// Routes as the page needs them, in the order of the schema.
const routesOf = () => Object.entries(schema.paths).flatMap(([path, methods]) => METHODS.filter((method) => methods[method]).map((method) => {
  const operation = methods[method];
  const types = Object.keys(operation.requestBody?.content ?? {});
  const [given] = Object.entries(operation.responses).filter(([status]) => status < 400);
  return { path, method: method.toUpperCase(), operation, types, id: `${method}${path.replace(/[^a-z0-9]+/gi, "-")}`.replace(/-$/, ""), parameters: operation.parameters ?? [],
    body: types.includes("multipart/form-data") ? "form" : types.length ? "image" : "", given: Object.keys(given[1].content ?? {})[0] ?? "" };
}));

function example(parameter) {
  const [kind] = kinds(parameter.schema, all()).kinds;
  return parameter.schema.examples?.[0] ?? kind.enum?.[0] ?? (kind.type === "integer" ? kind.minimum ?? 1 : "");
}

// Values that a person has typed: those of a path always, others where they are not empty.
function callOf(route, values) {
  const value = (name) => String(values.get(name) ?? "");
  const path = route.path.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(value(name)) || `{${name}}`);
  const query = route.parameters.filter(({ in: where, name }) => where === "query" && value(name) !== "").map(({ name }) => [name, value(name)]);
  const binary = { "image/png": "evidence.png", "application/zip": "bundle.zip", "application/octet-stream": "levels.bin" }[route.given];
  return { method: route.method, route: `${route.method} ${route.path}`, path, query, body: route.body, key: hasKey(), json: route.given === "application/json", binary };
}

function field(route, parameter, values, changed) {
  const { kinds: [kind], nullable } = kinds(parameter.schema, all());
  const id = `${route.id}-${parameter.name}`, standard = parameter.schema.default;
  const choices = kind.enum ?? (kind.type === "boolean" ? ["false", "true"] : null);
  const set = (event) => { values.set(parameter.name, event.target.value); changed(); };
  const hint = standard === undefined || standard === "" ? "" : String(standard);
  const input = choices
    ? h("select", { id, onchange: set }, [parameter.required ? null : h("option", { value: "" }, hint ? t("apiDefault", { value: hint }) : "–"), choices.map((choice) => h("option", { value: choice }, choice))])
    : h("input", { id, type: ["integer", "number"].includes(kind.type) ? "number" : "text", step: kind.type === "number" ? "any" : null, placeholder: hint || parameter.schema.examples?.[0], autocomplete: "off", spellcheck: "false", oninput: set });
  if (parameter.required) {
    values.set(parameter.name, String(example(parameter)));
    input.value = values.get(parameter.name);
  }
  const says = [typeOf(kind, all()), parameter.required ? t("apiRequired") : "", nullable || !hint ? "" : t("apiDefault", { value: hint })].filter(Boolean).join(", ");
  return h("div", { class: "parameter" },
    h("div", {}, h("label", { for: id }, h("code", { class: "field" }, parameter.name)), " ", h("span", { class: "soft" }, says), " ",
      limits(parameter.schema, all()).map((limit) => [h("code", { class: "soft" }, limit), " "]),
      parameter.description ? h("div", {}, rich(parameter.description)) : null),
    input);
}

function responses(route) {
  const rows = Object.entries(route.operation.responses).sort(([one], [other]) => one - other).map(([status, { description, content, headers }]) => {
    const [[type, media]] = Object.entries(content ?? { "": {} });
    const inside = media?.schema && parts(media.schema, all()) ? media.schema : null;
    const name = inside && target(inside.items ?? inside, all()).name;
    const said = description === "Successful Response" ? t("apiSuccess") : rich(description);
    return h("li", {}, h("strong", { class: status < 400 ? "normal" : "refer" }, status), " ", type ? h("code", { class: "soft" }, type) : null, " ", said,
      Object.entries(headers ?? {}).map(([header, { description: what }]) => h("div", {}, h("code", { class: "field" }, header), " ", rich(what))),
      inside ? fold([h("code", {}, `${name ?? typeOf(inside, all())}${inside.items ? "[]" : ""}`)], () => parts(inside, all())) : null);
  });
  return h("ul", { class: "responses" }, rows);
}

function examples(route, values) {
  const buttons = h("div", { class: "presets", role: "group", "aria-label": t("apiExample") });
  const code = h("code", {});
  const copy = h("button", { type: "button", onclick: async () => { await navigator.clipboard.writeText(code.textContent); copied.textContent = t("apiCopied"); } }, t("apiCopy"));
  const copied = h("span", { role: "status", class: "soft" });
  function draw() {
    const call = callOf(route, values);
    const written = Object.entries(LANGUAGES).map(([name, write]) => [name, write(call, location.origin)]).filter(([, text]) => text);
    const [name, text] = written.find(([each]) => each === shown) ?? written[0];
    code.textContent = text;
    copied.textContent = "";
    put(buttons, written.map(([each]) => h("button", { type: "button", "aria-pressed": String(each === name), onclick: () => choose(each) }, each)));
  }
  function choose(name) {
    shown = name;
    document.dispatchEvent(new Event("api-language"));
    [...buttons.children].find((button) => button.textContent === name)?.focus();
  }
  document.addEventListener("api-language", draw);
  draw();
  return { node: h("div", {}, h("div", { class: "row" }, buttons, copy, copied), h("pre", { tabindex: "0", role: "region", "aria-label": `${t("apiExample")} ${route.method} ${route.path}` }, code)), draw };
}

// What can be tried: what only reads, and what sends a file.
function trial(route, values) {
  if (route.method !== "GET" && !route.body) return null;
  const files = route.body ? h("input", { type: "file", id: `${route.id}-body`, required: true, multiple: route.body === "form" }) : null;
  const result = h("div", { class: "response", "aria-live": "polite" });
  const go = h("button", { class: "main" }, t("apiSend"));
  async function send(event) {
    event.preventDefault();
    const { path, query } = callOf(route, values);
    const options = { method: route.method };
    if (route.body === "image") Object.assign(options, { body: files.files[0], headers: { "Content-Type": "application/octet-stream" } });
    if (route.body === "form") {
      options.body = new FormData();
      for (const file of files.files) options.body.append("files", file, file.name);
    }
    go.disabled = true;
    const began = performance.now();
    try {
      const response = await respond(path + (query.length ? `?${new URLSearchParams(query)}` : ""), options);
      put(result, await answer(response, performance.now() - began, `${route.method} ${route.path}`));
    } catch (error) {
      put(result, h("p", { class: "refused" }, error.message));
    }
    go.disabled = false;
  }
  return h("form", { onsubmit: send }, h("div", { class: "row" }, files ? [h("label", { for: files.id }, t("file")), files] : null, go), result);
}

async function answer(response, milliseconds, label) {
  const type = (response.headers.get("Content-Type") ?? "").split(";")[0], content = await response.blob();
  const own = [...response.headers].filter(([name]) => /^(film-|lung-|retry-after|x-request-id)/.test(name)).map(([name, value]) => h("div", {}, h("code", {}, `${name}: ${value}`)));
  const name = { "image/png": "evidence.png", "application/zip": "bundle.zip", "text/html": "report.html", "application/octet-stream": "levels.bin" }[type];
  const head = h("p", {}, h("strong", { class: response.ok ? "normal" : "refer" }, `${response.status}`), ` ${type}, ${t("apiBytes", { count: count(content.size) })}, ${count(milliseconds)} ms`);
  const whole = () => h("button", { type: "button", onclick: () => save(content, name ?? (type.endsWith("json") ? "response.json" : "response.txt")) }, t("download"));
  if (type === "image/png") return [head, own, h("img", { src: URL.createObjectURL(content), alt: t("apiPicture") }), whole()];
  if (name) return [head, own, whole()];
  const text = await content.text();
  const pretty = type.endsWith("json") ? JSON.stringify(JSON.parse(text), null, 2) : text;
  return [head, own, h("pre", { tabindex: "0", role: "region", "aria-label": `${t("apiResponse")} ${label}` }, h("code", { lang: "en" }, pretty.slice(0, LONGEST))),
    pretty.length > LONGEST ? h("p", {}, t("apiCut", { shown: count(LONGEST), all: count(pretty.length) }), " ", whole()) : null];
}

function drawRoute(route) {
  const values = new Map();
  let changed = () => {};
  const fields = route.parameters.map((parameter) => field(route, parameter, values, () => changed()));
  const written = examples(route, values);
  changed = written.draw;
  const tried = trial(route, values);
  const part = (name, ...nodes) => [h("h3", {}, t(name)), nodes];
  return h("div", {},
    fields.length ? part("apiParameters", fields) : null,
    route.types.length ? part("apiBody", h("p", {}, route.types.map((type, place) => [place ? ", " : "", h("code", {}, type)]), route.body === "form" ? [" · ", h("code", {}, "files"), ` ${t("apiFiles")}`] : null)) : null,
    part("apiCall", written.node), tried ? part("apiTry", tried) : null, part("apiResponses", responses(route)));
}

const title = (route) => [h("strong", { class: `method ${route.method.toLowerCase()}` }, route.method), " ", h("code", { class: "path" }, route.path), " ", h("span", { class: "soft" }, rich(route.operation.summary))];

function draw() {
  const routes = routesOf(), tags = [...new Set(routes.flatMap(({ operation }) => operation.tags))];
  document.title = `${t("api")} · pneumoscope`;
  put(page,
    h("h1", {}, t("apiTitle")), h("p", {}, rich(schema.info.description)),
    h("p", {}, t("apiLead"), " ", link("/v1/openapi.json", "openapi.json")),
    h("p", { class: "soft" }, t("apiKeys"), " ", h("code", {}, "Authorization: Bearer KEY")),
    tags.map((tag) => h("section", { "aria-labelledby": `tag-${tag}` }, h("h2", { id: `tag-${tag}` }, word(`tag.${tag}`, tag)),
      routes.filter(({ operation }) => operation.tags.includes(tag)).map((route) => h("div", { class: "card route" }, fold(title(route), () => drawRoute(route), { id: route.id }))))));
  openNamed();
}

function openNamed() {
  const named = location.hash && document.getElementById(location.hash.slice(1));
  if (named?.tagName !== "DETAILS") return;
  named.open = true;
  named.scrollIntoView();
}

startFrame(() => schema && draw());
window.addEventListener("hashchange", openNamed);
try {
  const [found, bundle] = [await getJson("/v1/openapi.json"), await getJson("/v1/bundle")];
  schema = found;
  useBundle(bundle);
  const adapts = await getJson("/v1/adaptations").then(() => true, () => false);
  for (const node of document.querySelectorAll("[data-adapts]")) node.hidden = !adapts;
  drawFrame();
  draw();
  document.documentElement.dataset.ready = "yes";
} catch (error) {
  put(page, h("p", { role: "alert" }, error.message));
}
