// The same call of a route in four languages, as text to copy. A call has a method, a path, a query (a list of pairs), a body
// ("image", "form" or none) and whether a key is needed.
const FILM = "film.jpeg";
const asPython = (value) => JSON.stringify(value);
const indented = (lines) => lines.map((line) => `    ${line}`);

const search = (query) => (query.length ? `?${new URLSearchParams(query)}` : "");
// A shell takes what stands between single quotes as it is.
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function curl(call, origin) {
  const parts = ["curl --fail-with-body"];
  if (call.method !== "GET" && !(call.method === "POST" && call.body)) parts.push(`-X ${call.method}`);
  if (call.key) parts.push('-H "Authorization: Bearer $KEY"');
  if (call.body === "image") parts.push("-H 'Content-Type: image/jpeg'", `--data-binary @${FILM}`);
  if (call.body === "form") parts.push(`-F files=@${FILM}`);
  if (call.binary) parts.push(`-o ${call.binary}`);
  return [...parts, quoted(origin + call.path + search(call.query))].join(" \\\n  ");
}

function httpx(call, origin) {
  const given = [asPython(origin + call.path)];
  if (call.query.length) given.push(`params={${call.query.map(([name, value]) => `${asPython(name)}: ${asPython(value)}`).join(", ")}}`);
  if (call.body === "image") given.push(`content=Path("${FILM}").read_bytes()`);
  if (call.body === "form") given.push(`files=[("files", ("${FILM}", Path("${FILM}").read_bytes()))]`);
  if (call.key) given.push('headers={"Authorization": f"Bearer {KEY}"}');
  const imports = [...(call.key ? ["import os"] : []), ...(call.body || call.binary ? ["from pathlib import Path"] : [])];
  return [...imports, ...(imports.length ? [""] : []), "import httpx", "", ...(call.key ? ['KEY = os.environ["KEY"]'] : []),
    `response = httpx.${call.method.toLowerCase()}(`, ...indented(given.map((one) => `${one},`)), ")", "response.raise_for_status()",
    call.json ? "print(response.json())" : call.binary ? `Path("${call.binary}").write_bytes(response.content)` : "print(response.text)",
  ].join("\n");
}

// JavaScript of a page of the service's own, or of Node.js, as a module.
function javascript(call, origin) {
  const given = call.method === "GET" ? [] : [`method: "${call.method}"`];
  if (call.key) given.push("headers: { Authorization: `Bearer ${process.env.KEY}` }");
  if (call.body) given.push(call.body === "image" ? "body: film" : "body: form");
  const options = given.length ? `, {\n${given.map((one) => `  ${one},\n`).join("")}}` : "";
  const film = `const film = await openAsBlob(${JSON.stringify(FILM)});`;
  return [...(call.body || call.binary ? [`import { ${[call.body && "openAsBlob", call.binary && "writeFileSync"].filter(Boolean).join(", ")} } from "node:fs";`, ""] : []),
    ...(call.body ? [film] : []), ...(call.body === "form" ? ["const form = new FormData();", `form.append("files", film, ${JSON.stringify(FILM)});`] : []),
    `const response = await fetch(${JSON.stringify(origin + call.path + search(call.query))}${options});`,
    "if (!response.ok) throw new Error(await response.text());",
    call.json ? "console.log(JSON.stringify(await response.json(), null, 2));"
      : call.binary ? `writeFileSync(${JSON.stringify(call.binary)}, new Uint8Array(await response.arrayBuffer()));` : "console.log(await response.text());",
  ].join("\n");
}

// Routes that pneumoscope.client has, with the parameters that its method takes.
const SETTINGS = ["operating_point", "prevalence", "evidence"];
const METHODS = {
  "POST /v1/predict": ["predict", SETTINGS, (given) => `print(client.predict(${given}))`],
  "POST /v1/predict/batch": ["predict_many", SETTINGS, (given) => `for prediction in client.predict_many(${given}):\n        print(prediction)`],
  "POST /v1/evidence": ["evidence", [], (given) => `Path("evidence.png").write_bytes(client.evidence(${given}))`],
  "GET /v1/bundle": ["bundle", [], () => "print(client.bundle())"],
  "GET /v1/performance": ["performance", [], () => "print(client.performance())"],
  "GET /v1/ready": ["ready", [], () => "print(client.ready())"],
  "GET /v1/history": ["history", ["text", "decision"], (given) => `for entry in client.history(${given}):\n        print(entry.time, entry.prediction)`],
  "DELETE /v1/history": ["delete_history", [], () => "print(client.delete_history())"],
  "DELETE /v1/history/{number}": ["delete_history", [], (given, call) => `print(client.delete_history(${call.path.split("/").pop()}))`],
};
const PLAIN = { true: "True", false: "False" };
const literal = (name, value) => (name === "decision" ? `Decision(${asPython(value)})` : PLAIN[value] ?? (name === "prevalence" ? value : asPython(value)));

function client(call, origin) {
  if (!METHODS[call.route]) return null;
  const [, taken, write] = METHODS[call.route];
  const first = call.route.endsWith("/batch") ? [`["${FILM}"]`] : call.body ? [`"${FILM}"`] : [];
  const given = call.query.filter(([name]) => taken.includes(name)).map(([name, value]) => `${name}=${literal(name, value)}`);
  const written = write([...first, ...given].join(", "), call);
  const imports = [...(call.key ? ["import os"] : []), ...(written.includes("Path(") ? ["from pathlib import Path"] : [])];
  return [...imports, ...(imports.length ? [""] : []), ...(written.includes("Decision(") ? ["from pneumoscope import Decision"] : []),
    "from pneumoscope.client import Client", "",
    `with Client(${[asPython(origin), ...(call.key ? ['key=os.environ["KEY"]'] : [])].join(", ")}) as client:`, `    ${written}`].join("\n");
}

// Language to how it writes a call; null where it has no such call.
export const LANGUAGES = { curl, "pneumoscope.client": client, httpx, JavaScript: javascript };
export const CLIENT_METHODS = new Set(Object.values(METHODS).map(([name]) => name));
