// The worklist in the browser's own storage: a reload, or a crash, finds it again. Nothing of it leaves the browser.

// Films and their predictions are kept apart from the files, which are written once.
const STORES = { files: {}, films: { keyPath: "id" }, readings: { keyPath: ["sha256", "reader"] } };
// Milliseconds in which changes are collected for one write.
const SOON = 300, LATE = 5000;

let opening = null;
let writing = 0;
let broken = null;
let onBroken = () => {};
const changes = new Map();
let later = 0;

// All tabs of a browser have one list: what is given or cleared in one is so in the others.
const tabs = new BroadcastChannel("pneumoscope");
// Called with a reading that was given in another tab, with the id of a film that was removed there as `removed`, and with nothing
// where the list was cleared there.
export const watchTabs = (act) => (tabs.onmessage = ({ data }) => act(data));

// Called once where the browser keeps nothing: storage that is turned off, a full disk.
export const watchStorage = (act) => (onBroken = act);
// Whether something that is on the page would not be found again now.
export const isUnsaved = () => writing > 0 || changes.size > 0;
export const isBroken = () => broken !== null;

function database() {
  return (opening ??= new Promise((done, fail) => {
    const request = indexedDB.open("pneumoscope", 1);
    request.onupgradeneeded = () => {
      for (const [name, options] of Object.entries(STORES)) request.result.createObjectStore(name, options);
    };
    request.onsuccess = () => done(request.result);
    navigator.storage?.persist?.(); // or the browser may forget it where room is short
    request.onerror = () => fail(request.error);
  }));
}

async function transact(mode, names, act) {
  writing += mode === "readwrite" ? 1 : 0;
  try {
    const opened = await database();
    return await new Promise((done, fail) => {
      const transaction = opened.transaction(names, mode);
      const result = act(...names.map((name) => transaction.objectStore(name)));
      transaction.oncomplete = () => done(result);
      transaction.onabort = transaction.onerror = () => fail(transaction.error);
    });
  } catch (error) {
    if (!broken) onBroken((broken = error));
    return null;
  } finally {
    writing -= mode === "readwrite" ? 1 : 0;
  }
}

const recordOf = ({ id, name, path, copies, stored, pacs, sent }) => ({ id, name, path, copies, stored, pacs, sent });

// New films, and what has changed of others. While films are analysed, which needs the processor, they are written every few seconds.
export function saveFilms(films, busy = false) {
  for (const film of films) changes.set(film.id, film);
  if (!busy) clearTimeout(later);
  if (!busy || !later) later = setTimeout(flush, busy ? LATE : SOON);
}

// For what must not be lost by a reload at once: on return it is stored.
export function saveNow(film) {
  changes.set(film.id, film);
  clearTimeout(later);
  return flush();
}

const withFile = new Set();

function flush() {
  const films = [...changes.values()];
  later = 0;
  changes.clear();
  return transact("readwrite", ["files", "films"], (files, records) => {
    for (const film of films) {
      if (film.file && !withFile.has(film.id)) files.put(film.file, film.id);
      withFile.add(film.id);
      records.put(recordOf(film));
    }
  });
}

export const removeFilm = (film) => {
  tabs.postMessage({ removed: film.id });
  return dropFilm(film);
};

// Deletes a film that was removed in another tab: what this one was about to write, or has written since.
export const dropFilm = ({ id }) => {
  changes.delete(id);
  return transact("readwrite", ["files", "films"], (files, records) => [files.delete(id), records.delete(id)]);
};

export function saveReading(reading) {
  const { sent, ...given } = reading; // that the service has it is known here alone
  tabs.postMessage(given);
  return transact("readwrite", ["readings"], (readings) => readings.put(reading));
}

export const removeReading = ({ sha256, reader }) => transact("readwrite", ["readings"], (readings) => readings.delete([sha256, reader]));

// Films of the list that is cleared are written no more.
export function forgetUnwritten() {
  changes.clear();
  withFile.clear();
}

export function forgetSession() {
  forgetUnwritten();
  tabs.postMessage(null);
  return transact("readwrite", Object.keys(STORES), (...stores) => stores.forEach((store) => store.clear()));
}

// Films with their files, and readings, as they were left; null where the browser keeps nothing.
export async function findSession() {
  const found = await transact("readonly", Object.keys(STORES), (files, films, readings) => [files.getAllKeys(), files.getAll(), films.getAll(), readings.getAll()]);
  if (!found) return null;
  const [keys, files, films, readings] = found.map(({ result }) => result);
  const fileOf = new Map(keys.map((key, place) => [key, files[place]]));
  return { films: films.map((film) => ({ ...film, file: fileOf.get(film.id) ?? null })), readings };
}
