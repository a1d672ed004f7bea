// What the browser keeps between visits. A browser that keeps nothing, as in a private window, works all the same.

// Short settings by their names.
export const stored = {
  get(name) {
    try {
      return localStorage.getItem(name);
    } catch {
      return null;
    }
  },
  set(name, value) {
    try {
      localStorage.setItem(name, value);
    } catch {
      // The setting holds for this visit.
    }
  },
};
