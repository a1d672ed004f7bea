// Where readings are kept: in the browser, and on the service where it has a history.
import { allReadings, isLatest, take, watchReadings } from "./readings.js";
import { getJson, putJson } from "./service.js";
import { removeReading, saveReading } from "./session.js";

// Milliseconds until readings that the service did not take are sent again.
const AGAIN = 5000;

let onService = false;
let sending = false;
let onFailure = () => {};
const unsent = new Map();

export const isUnsent = () => unsent.size > 0;
const keyOf = ({ sha256, reader }) => `${sha256} ${reader}`;

// Readings of before, of this browser and of the service, and from now on of every one that is given. `failed` is called with their
// number where the service does not take some, and with 0 once it has them.
export async function startKeeping(found, keepsOnService, failed) {
  onService = keepsOnService;
  onFailure = failed;
  watchReadings((reading) => {
    saveReading(reading);
    toService(reading);
  });
  const there = onService ? await getJson("/v1/readings").then(({ readings }) => readings, () => null) : null;
  const known = there && new Map(there.map((reading) => [keyOf(reading), reading]));
  for (const { sent, ...reading } of found) {
    // What the service had and has no more was deleted there.
    if (known && sent && !known.has(keyOf(reading))) removeReading(reading);
    else take(reading);
  }
  for (const reading of there ?? []) if (take(reading)) saveReading({ ...reading, sent: true });
  for (const reading of allReadings()) if (onService && !(known?.get(keyOf(reading))?.time >= reading.time)) toService(reading);
}

function toService(reading) {
  if (!onService) return;
  unsent.set(keyOf(reading), reading);
  send();
}

// One request at a time; what fails is tried again.
async function send() {
  if (sending) return;
  sending = true;
  while (unsent.size) {
    const part = [...unsent];
    try {
      await putJson("/v1/readings", part.map(([, reading]) => reading));
      for (const [key, reading] of part) {
        if (unsent.get(key) !== reading) continue; // changed since
        unsent.delete(key);
        if (isLatest(reading)) saveReading({ ...reading, sent: true }); // or another tab has stored its own over it
      }
      onFailure(0);
    } catch {
      onFailure(unsent.size);
      await new Promise((done) => setTimeout(done, AGAIN));
    }
  }
  sending = false;
}
