// Have the films changed: the verdict of each statistic, and of all together.
import { t } from "./words.js";

// Images below which the service gives no verdict (evaluation/drift.py).
export const FEWEST = 50;
const LEVELS = ["too_few", "steady", "moved", "drifted"];

export const statWord = (name) => t(name === "rejected" ? "rejectedName" : `stat.${name}`);

// The worst level of a drift report, and what has it; null where the bundle has no reference.
export function worst(drift) {
  if (drift.rejected_reference == null) return null;
  const levels = Object.entries(drift.statistics).map(([name, moved]) => [name, moved.drift]);
  levels.push(["rejected", drift.rejections]);
  const level = LEVELS[Math.max(...levels.map(([, each]) => LEVELS.indexOf(each)))];
  return { level, names: levels.filter(([, each]) => each === level).map(([name]) => statWord(name)).join(", ") };
}
