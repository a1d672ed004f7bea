// What an OpenAPI schema says of a value, as text and as a list that opens part by part.
import { h } from "./dom.js";
import { t } from "./words.js";

// Text of the schema: English, with `code` and **strong** as in Markdown.
export function rich(text) {
  return h("span", { lang: "en" }, String(text ?? "").split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((part) =>
    part.startsWith("`") && part.length > 2 ? h("code", {}, part.slice(1, -1)) : part.startsWith("**") ? h("strong", {}, part.slice(2, -2)) : part));
}

export const target = (schema, all) => (schema?.$ref ? { ...all[schema.$ref.split("/").pop()], ...schema, $ref: undefined, name: schema.$ref.split("/").pop() } : schema ?? {});
// The kinds that a value may have, null left out; and whether it may be null.
export function kinds(schema, all) {
  const each = (schema?.anyOf ?? [schema]).map((one) => target(one, all));
  return { kinds: each.filter((one) => one.type !== "null"), nullable: each.some((one) => one.type === "null") };
}

function typeOf(schema, all) {
  const one = target(schema, all);
  if (one.anyOf) return one.anyOf.map((each) => typeOf(each, all)).join(" | ");
  if (one.type === "array") return `${typeOf(one.items, all)}[]`;
  if (one.format === "binary") return t("file");
  if (one.additionalProperties && one.additionalProperties !== true && !one.properties) return `{ … : ${typeOf(one.additionalProperties, all)} }`;
  return one.type ?? "JSON";
}
export { typeOf };

// Limits of a value, in mathematics as far as it goes.
export function limits(schema, all) {
  return kinds(schema, all).kinds.flatMap((one) => {
    const { minimum, exclusiveMinimum, exclusiveMaximum, maxLength, pattern } = one;
    // JavaScript cannot hold larger integers, and nobody types them.
    const maximum = one.maximum > Number.MAX_SAFE_INTEGER ? undefined : one.maximum;
    const low = exclusiveMinimum !== undefined ? `${exclusiveMinimum} < ` : minimum !== undefined ? `${minimum} ≤ ` : "";
    const high = exclusiveMaximum !== undefined ? ` < ${exclusiveMaximum}` : maximum !== undefined ? ` ≤ ${maximum}` : "";
    return [...(low || high ? [`${low}x${high}`] : []), ...(maxLength && !one.enum ? [t("apiLength", { count: maxLength })] : []), ...(one.enum ? [one.enum.join(", ")] : []), ...(pattern ? [pattern] : [])];
  });
}

// The parts of a schema that has parts; each opens when it is asked for, since schemas refer to each other.
export function parts(schema, all) {
  const one = target(schema, all);
  if (one.anyOf) return kinds(one, all).kinds.map((each) => parts(each, all)).find(Boolean) ?? null;
  if (one.type === "array") return parts(one.items, all);
  if (!one.properties) return one.additionalProperties?.$ref ? parts(one.additionalProperties, all) : null;
  const required = new Set(one.required);
  return h("ul", { class: "schema" }, Object.entries(one.properties).map(([name, property]) => {
    const found = target(property, all);
    const head = [h("code", { class: "field" }, name), " ", h("span", { class: "soft" }, typeOf(property, all), required.has(name) ? "" : ` (${t("apiOptional")})`),
      ...limits(property, all).map((limit) => [" ", h("code", { class: "soft" }, limit)]), found.description ? [" ", rich(found.description)] : null];
    return h("li", {}, hasParts(property, all) ? fold(head, () => parts(property, all)) : head);
  }));
}

function hasParts(schema, all) {
  const one = target(schema, all);
  if (one.anyOf) return kinds(one, all).kinds.some((each) => hasParts(each, all));
  if (one.type === "array") return hasParts(one.items, all);
  return Boolean(one.properties || one.additionalProperties?.$ref);
}

// What opens, and is drawn when it is first opened.
export function fold(head, draw, attributes = {}) {
  const node = h("details", attributes, h("summary", {}, head));
  node.addEventListener("toggle", () => node.open && node.children.length === 1 && node.append(draw()));
  return node;
}
