// The PACS: a dialog that searches studies and opens their films, and the line under such a film, from which answers are sent back.
import { decided } from "./decide.js";
import { h, put, table } from "./dom.js";
import { allFilms, bundleInUse, changed, settingsInUse } from "./films.js";
import { reveal } from "./names.js";
import { isHidden } from "./readings.js";
import { offers, searchPacs, sendAnswers, studyImages } from "./service.js";
import { saveNow } from "./session.js";
import { count, currentLanguage, dateTime, day, percent, t } from "./words.js";

const $ = (id) => document.getElementById(id);
const FIELDS = [["patient_id", "text", 64], ["patient_name", "text", 64], ["accession_number", "text", 64], ["since", "date"], ["until", "date"]];

let open = async () => {};
let wanted = Object.fromEntries(FIELDS.map(([name]) => [name, ""]));
let found = null; // { studies, more } of the last search
let asked = 0;
let drawn = "";

// `openFilms` takes the images of a study, those of earlier ones last, into the worklist.
export function startPacs(openFilms) {
  open = openFilms;
  $("open-pacs").hidden = !offers.pacs;
  $("open-pacs").addEventListener("click", openPacs);
  // Studies that were looked through are gone with the dialog.
  $("pacs-dialog").addEventListener("close", () => (asked += 1));
}

// Parts of a name in DICOM are separated by ^.
const nameOf = (name) => reveal(name.split("^").filter((part) => part.trim()).join(", ")) || t("unknown");
const dayOf = (date) => (date ? day(date) : t("unknown"));

export function openPacs() {
  if (!offers.pacs || $("pacs-dialog").open) return;
  const status = h("p", { role: "status", class: "soft", id: "pacs-status" }), problem = h("p", { role: "alert", class: "refused" }), list = h("div", { class: "studies" });
  const inputs = FIELDS.map(([name, type, maxlength]) => h("input", { type, name, maxlength, value: wanted[name], autocomplete: "off", spellcheck: "false" }));
  const say = (words, error = null) => {
    status.textContent = words;
    put(problem, error ? [error.message, error.detail && error.detail !== error.message ? h("span", { class: "soft" }, ` ${error.detail}`) : null] : null);
  };
  const results = () => {
    put(list, found?.studies.length ? studies(found.studies, take) : null);
    if (found) say([t(found.studies.length === 1 ? "pacsFoundOne" : found.studies.length ? "pacsFound" : "pacsNone", { count: count(found.studies.length) }), found.more ? t("pacsMore") : ""].join(" "));
  };
  const search = async (event) => {
    event.preventDefault();
    wanted = Object.fromEntries(inputs.map(({ name, value }) => [name, value.trim()]));
    if (!Object.values(wanted).some(Boolean)) {
      say("", { message: t("pacsEmpty") });
      return;
    }
    await during(t("pacsSearching"), () => searchPacs(wanted), (answer) => {
      found = answer;
      results();
    });
  };
  // One request at a time: what comes after another was begun, or the dialog closed, is too late.
  const during = async (words, request, use) => {
    const number = (asked += 1);
    say(words);
    list.setAttribute("aria-busy", "true");
    try {
      const answer = await request();
      if (number === asked) await use(answer);
    } catch (error) {
      if (number === asked) say("", error);
    }
    if (number === asked) list.removeAttribute("aria-busy");
  };
  const take = (study) => during(t("pacsOpening"), () => studyImages(study.study), ({ images }) => {
    $("pacs-dialog").close();
    return open(images);
  });
  put($("pacs-dialog"),
    h("h2", { id: "pacs-title" }, t("openPacs")),
    h("form", { class: "wanted", role: "search", "aria-labelledby": "pacs-title", onsubmit: search },
      inputs.map((input) => h("label", {}, t(`pacs.${input.name}`), input)), h("button", { class: "main" }, t("searchGo"))),
    status, problem, list,
    h("form", { method: "dialog", class: "end" }, h("p", { class: "soft" }, t("pacsHint")), h("button", {}, t("close"))));
  results();
  $("pacs-dialog").showModal();
}

function studies(listed, take) {
  const button = (study) => h("button", { type: "button", onclick: () => take(study) }, nameOf(study.patient_name));
  const rows = listed.map((study) => [
    h("span", { class: "moment" }, dayOf(study.date), study.time ? h("small", { class: "soft" }, ` ${study.time}`) : null),
    h("span", {}, button(study), h("small", { class: "soft" }, [reveal(study.patient_id), study.birth_date ? t("pacsBorn", { date: day(study.birth_date) }) : ""].filter(Boolean).join(" · "))),
    reveal(study.accession_number), reveal(study.description), { text: study.images == null ? t("unknown") : count(study.images), class: "number" }]);
  const made = table([t("pacsDate"), t("pacsPatient"), t("pacs.accession_number"), t("pacsDescription"), { text: t("films"), class: "number" }], rows, { label: t("pacsStudies") });
  const buttons = [...made.querySelectorAll("button")];
  made.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key], at = buttons.indexOf(document.activeElement);
    if (!step || at < 0) return;
    event.preventDefault();
    buttons[Math.min(buttons.length - 1, Math.max(0, at + step))].focus();
  });
  made.addEventListener("click", (event) => event.target.closest("button") ?? event.target.closest("tbody tr")?.querySelector("button").click());
  return made;
}

// A film of the list as an image of the PACS; its name, which the history may keep, does not name the patient.
export const filmOf = (image) => {
  const words = [image.accession_number, image.date, image.modality, image.view].map((word) => word.trim()).filter(Boolean);
  return { file: null, name: words.join(" ") || image.instance, path: `pacs/${image.study}/${image.instance}.dcm`, pacs: image };
};

export const filmOfImage = ({ instance }) => allFilms().find(({ pacs }) => pacs?.instance === instance);

// What is sent: the prediction at the bundle's own prevalence, by the operating point in use.
const answerOf = (film) => decided(film.stored, bundleInUse(), settingsInUse().point, bundleInUse().prevalence);
const keyOf = (film) => `${bundleInUse().sha256} ${settingsInUse().point} ${film.pacs.instance}`;

// Whose film it is, and what was sent of it; nothing for a film that does not come from the PACS.
export function drawPacsFilm(film) {
  const node = $("pacs-film"), sent = film?.sent?.key === (film?.pacs && film.stored && keyOf(film)) ? film?.sent : null;
  node.hidden = !film?.pacs || !offers.pacs;
  const what = node.hidden ? "" : [film.id, film.version, currentLanguage(), isHidden(film), keyOf(film), JSON.stringify(sent), film.sending].join();
  if (what === drawn) return;
  drawn = what;
  if (node.hidden) return;
  const { patient_name: name, patient_id: id, accession_number: accession, date, earlier } = film.pacs;
  const can = film.stored && !isHidden(film) && !film.sending;
  put(node,
    h("p", {}, h("strong", {}, nameOf(name)), " ", h("span", { class: "soft" }, [id && t("pacsId", { id: reveal(id) }), accession && t("pacsAccession", { number: reveal(accession) }), dayOf(date), earlier ? t("pacsEarlier") : ""].filter(Boolean).join(" · "))),
    offers.pacs.writable && !sent?.time ? h("button", { type: "button", id: "send", disabled: !can, onclick: () => confirmed(film) }, t("pacsSend")) : null,
    h("span", { role: "status", class: sent?.problem ? "refused" : "soft" }, offers.pacs.writable ? stateOf(film, sent) : t("pacsReadOnly")));
}

function stateOf(film, sent) {
  if (film.sending) return t("pacsSending");
  if (isHidden(film)) return t("pacsBlinded");
  if (!sent) return "";
  if (sent.problem) return t("pacsNotSent", { why: sent.problem });
  return t(sent.new ? "pacsSent" : "pacsWasThere", { time: dateTime(sent.time, { dateStyle: "medium", timeStyle: "short" }) });
}

function confirmed(film) {
  const dialog = $("send-dialog"), answer = answerOf(film), { patient_name: name, patient_id: id, accession_number: accession, date } = film.pacs;
  const outside = answer.validated === false && answer.decision !== "rejected";
  const says = outside ? t("pacsOutside") : [t(answer.decision), answer.pneumonia_probability == null ? "" : t("chanceIs", { value: percent(answer.pneumonia_probability) })].filter(Boolean).join(", ");
  const at = t("pacsAt", { name: t(settingsInUse().point), prevalence: percent(bundleInUse().prevalence) });
  const pairs = [["pacsPatient", `${nameOf(name)}${id ? ` (${reveal(id)})` : ""}`], ["pacsStudy", [dayOf(date), reveal(accession)].filter(Boolean).join(" · ")],
    ["pacsObjects", offers.pacs.answers.map((kind) => t(`answer.${kind}`)).join(", ")], ["pacsSays", h("strong", {}, says)], ["detector", `${bundleInUse().name} ${bundleInUse().version}, ${at}`]];
  put(dialog,
    h("h2", { id: "send-title" }, t("pacsSendTitle")),
    h("dl", { class: "pairs" }, pairs.flatMap(([word, value]) => [h("dt", {}, t(word)), h("dd", {}, value)])),
    answer.decision === "rejected" ? h("p", {}, answer.reasons.map((reason) => t(`reason.${reason}`)).join(" ")) : null,
    h("p", { class: "warn" }, t("pacsStays")),
    h("form", { method: "dialog", class: "actions" }, h("button", { value: "send", class: "main" }, t("pacsSendNow")), h("button", { value: "", autofocus: true }, t("cancel"))));
  dialog.returnValue = "";
  dialog.addEventListener("close", () => dialog.returnValue === "send" && send(film, keyOf(film), settingsInUse().point, answer), { once: true });
  dialog.showModal();
}

async function send(film, key, point, { sha256, bundle }) {
  film.sending = true;
  changed(film);
  try {
    film.sent = { key, ...(await sendAnswers(film, { sha256, bundle: bundle.sha256, operating_point: point, file: film.name })) };
  } catch (error) {
    film.sent = { key, problem: [error.message, error.code === "pacs_failed" ? error.detail : ""].filter(Boolean).join(" ") };
  }
  film.sending = false;
  if (allFilms().includes(film)) await saveNow(film); // it may have been removed meanwhile
  changed(film);
}
