// The DICOM node on this machine: what waits, what was answered, what somebody has to look at.
import { comparisonPanel } from "./comparison.js";
import { h, put, table } from "./dom.js";
import { getJson } from "./service.js";
import { count, dateTime, t } from "./words.js";

const number = (text) => ({ text, class: "number" });
const time = (text) => (text ? dateTime(text, { dateStyle: "short", timeStyle: "medium" }) : t("unknown"));

// Nothing where no node is watched.
export async function drawNode(node) {
  const found = await getJson("/v1/node").catch((error) => (error.code === "node_off" ? null : Promise.reject(error)));
  if (!found) return;
  const { counts, latest, oldest } = found;
  const dead = Object.entries(counts).filter(([name, images]) => images && name.startsWith("dead")).reduce((all, [, images]) => all + images, 0);
  const others = Object.entries(counts).filter(([name]) => name === "ignored" || name.startsWith("refused"));
  const tile = (name, value) => h("div", { class: "tile" }, h("strong", {}, count(value)), " ", h("span", {}, t(name)));
  put(node, h("h2", {}, t("nodeTitle")),
    dead ? h("p", { class: "warn drifted", role: "note" }, t(dead === 1 ? "nodeDeadOne" : "nodeDead", { count: count(dead) })) : null,
    h("div", { class: "tiles counts" }, tile("nodeWaiting", counts.waiting), tile("nodeAnswered", counts.answered), tile("nodeHour", found.last_hour), tile("nodeDay", found.last_day)),
    oldest ? h("p", { class: "soft" }, t("nodeOldest", { time: time(oldest) })) : null,
    others.length ? h("p", { class: "soft" }, t("nodeOthers", { parts: others.map(([name, images]) => `${count(images)} ${t(`node.${name.replace("refused: ", "")}`)}`).join(", ") })) : null,
    latest.length ? table([t("nodeReceived"), t("nodeSender"), t("decision"), t("nodeDelivered")],
      latest.map((each) => [time(each.received), each.sender, h("span", { class: `decision ${each.decision}` }, t(each.decision)), each.kept ? t("nodeKept") : each.delivered ? time(each.delivered) : t("nodeNotYet")]), { label: t("nodeTitle") }) : h("p", { class: "soft" }, t("nodeEmpty")),
    comparisonPanel());
}
