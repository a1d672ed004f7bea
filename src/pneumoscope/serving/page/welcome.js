// The first visit: what there is to do, and a film to try it on.
import { h, put } from "./dom.js";
import { content, offers } from "./service.js";
import { count, currentLanguage, ownClasses, t } from "./words.js";

const node = () => document.getElementById("welcome");
let add = () => {};
let kept = [];
let drawn = "";

// `addAll` adds films to the list; films that the service keeps can be opened.
export function startWelcome(addAll, found) {
  add = addAll;
  kept = found;
}

export function drawWelcome(shown) {
  node().hidden = !shown;
  const what = `${shown} ${currentLanguage()} ${ownClasses} ${kept.length}`;
  if (what === drawn) return;
  drawn = what;
  if (!shown) return;
  put(node(), h("h2", {}, t("welcomeTitle")), h("ol", {}, [...t("welcomeSteps"), t(offers.adaptations ? "welcomeAdapts" : "welcomeMeasures")].map((step) => h("li", {}, step))),
    h("div", { class: "actions" },
      h("button", { type: "button", class: "main", onclick: () => document.getElementById("files").click() }, t("chooseFiles")),
      h("button", { type: "button", id: "sample", onclick: sample }, t("trySample")),
      kept.length ? h("button", { type: "button", id: "open-kept", onclick: openKept }, t("openKept", { count: count(kept.length) })) : null),
    h("p", { class: "soft" }, t("sampleText")), h("p", { class: "refused", role: "alert", id: "welcome-problem" }));
}

async function sample() {
  try {
    const file = new File([await content("/v1/sample")], "sample.png", { type: "image/png", lastModified: 0 });
    add([{ file, name: file.name, path: file.name }]);
  } catch (error) {
    document.getElementById("welcome-problem").textContent = error.message;
  }
}

function openKept() {
  add(kept.map((stored) => ({ file: null, name: stored.file || stored.sha256.slice(0, 16), path: stored.file || stored.sha256, stored })));
}
