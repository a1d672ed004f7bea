// Where readings are kept: in the browser, and on the service where it has a history.
import { allReadings, take, watchReadings } from "./readings.js";
import { getJson, putJson, remove } from "./service.js";
import { removeReading, saveReading } from "./session.js";

// Milliseconds until readings that the service did not take are sent again.
const AGAIN = 5000;

let onService = false;
let sending = false;
const unsent = new Map();

export const isUnsent = () => unsent.size > 0;
const keyOf = ({ sha256, reader }) => `${sha256} ${reader}`;

// Readings of before, of this browser and of the service, and from now on of every one that is given.
export async function startKeeping(found, keepsOnService) {
  onService = keepsOnService;
  found.forEach(take);
  watchReadings((reading, now) => {
    if (now) saveReading(now);
    else removeReading(reading);
    toService(reading, now);
  });
  if (!onService) return;
  const { readings } = await getJson("/v1/readings");
  const there = new Map(readings.map((reading) => [keyOf(reading), reading]));
  for (const reading of readings) if (take(reading)) saveReading(reading);
  for (const reading of allReadings()) if (!(there.get(keyOf(reading))?.time >= reading.time)) toService(reading, reading);
}

function toService(reading, now) {
  if (!onService) return;
  unsent.set(keyOf(reading), { reading, now });
  send();
}

// In the order they were given, one request at a time; what fails is tried again.
async function send() {
  if (sending) return;
  sending = true;
  while (unsent.size) {
    const part = [...unsent];
    try {
      const kept = part.filter(([, { now }]) => now).map(([, { now }]) => now);
      if (kept.length) await putJson("/v1/readings", kept);
      for (const [, { reading, now }] of part) if (!now) await remove(`/v1/readings/${reading.sha256}?${new URLSearchParams({ reader: reading.reader })}`);
      for (const [key, value] of part) if (unsent.get(key) === value) unsent.delete(key);
    } catch {
      await new Promise((done) => setTimeout(done, AGAIN));
    }
  }
  sending = false;
}
