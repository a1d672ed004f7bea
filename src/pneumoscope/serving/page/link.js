// Links to what the service sends.
import { h, save } from "./dom.js";
import { content, hasKey } from "./service.js";

// A plain link carries no key: with one, what it leads to is fetched and handed over as a file.
export function link(path, name, text = path, attributes = {}) {
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
  return [h("a", { href: path, onclick: fetchWithKey, ...attributes }, text), failed];
}
