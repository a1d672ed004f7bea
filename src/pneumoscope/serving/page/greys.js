// Grey levels of a film on the screen: which of them are shown (window and level), and at which resolution.

const WHOLE = { window: 1, level: 0.5 };
// A film has no unit as Hounsfield's of CT: exposure, detector and processing move its grey levels, and fractions of its own pixels
// move with them. The lung is its darker part, heart, chest wall and abdomen lie from there upwards, bone at the upper end. What is
// quite black or quite white is not counted: collimated borders, and markers burnt into the image.
const FRACTIONS = { soft: [0.25, 0.95], bone: [0.55, 0.999] };
export const PRESETS = ["auto", "soft", "bone", "full"];

export const largest = (film) => (film.bits === 8 ? 255 : 65535);

// Pixels of each grey level, counted once a film.
function countsOf(film) {
  if (!film.counts) {
    film.counts = new Uint32Array(largest(film) + 1);
    for (let i = 0; i < film.values.length; i += 1) film.counts[film.values[i]] += 1;
  }
  return film.counts;
}

// Grey level in [0, 1] below which a fraction of the pixels lies; only those with grey levels from `first` to `last` count.
function percentile(film, fraction, first = 0, last = largest(film)) {
  const counts = countsOf(film);
  let all = 0, value = first;
  for (let i = first; i <= last; i += 1) all += counts[i];
  for (let left = fraction * all - counts[value]; left > 0 && value < last; left -= counts[value]) value += 1;
  return value / largest(film);
}

const between = (low, high) => (high > low ? { window: high - low, level: (low + high) / 2 } : WHOLE);

// All of a film's range, or, where most of 16 bits is unused, what lies from the 1st to the 99th percentile. DICOM objects come with
// the window of their header applied.
function automatic(film) {
  if (film.bits === 8) return WHOLE;
  const window = between(percentile(film, 0.01), percentile(film, 0.99));
  return window.window < 0.5 ? window : WHOLE;
}

// Window and level of a preset, as fractions of the range of grey levels.
export function windowOf(film, preset = "auto") {
  film.windows ??= { full: WHOLE, auto: automatic(film) };
  film.windows[preset] ??= between(...FRACTIONS[preset].map((fraction) => percentile(film, fraction, 1, largest(film) - 1)));
  return film.windows[preset];
}

// What a grey level looks like, for every grey level: pixels for the screen.
export function tableOf(film, { window, level, inverted }) {
  const most = largest(film);
  const greys = new Uint8ClampedArray(most + 1), table = new Uint32Array(most + 1);
  for (let v = 0; v <= most; v += 1) {
    const grey = 255 * ((v / most - level) / window + 0.5);
    greys[v] = inverted ? 255 - Math.min(255, Math.max(0, grey)) : grey;
    table[v] = 0xff000000 | (greys[v] * 0x010101);
  }
  return table;
}

function halved({ values, width, height }) {
  const small = { width: (width + 1) >> 1, height: (height + 1) >> 1 };
  small.values = new values.constructor(small.width * small.height);
  for (let y = 0, place = 0; y < small.height; y += 1) {
    const above = 2 * y * width, below = Math.min(2 * y + 1, height - 1) * width;
    for (let x = 0; x < small.width; x += 1, place += 1) {
      const left = 2 * x, right = Math.min(left + 1, width - 1);
      small.values[place] = (values[above + left] + values[above + right] + values[below + left] + values[below + right] + 2) >> 2;
    }
  }
  return small;
}

// A film with one pixel for a square of `step` x `step`, a power of two: their mean, as far as grey levels have one.
export function reduced(film, step) {
  film.reduced ??= new Map([[1, film]]);
  if (!film.reduced.has(step)) film.reduced.set(step, halved(reduced(film, step / 2)));
  return film.reduced.get(step);
}

// The largest step at which a film still has as many pixels as the screen shows of it: more cost time, and look coarser.
export const stepFor = (zoom) => 2 ** Math.max(0, Math.floor(Math.log2(1 / zoom)));

// Part of a film through a table, row by row.
export function paint(pixels, { values, width }, table, left, top, columns, rows) {
  for (let y = 0, place = 0; y < rows; y += 1) {
    const first = (top + y) * width + left;
    for (let x = first; x < first + columns; x += 1, place += 1) pixels[place] = table[values[x]];
  }
}

// A canvas with part of a film.
export function painted(canvas, film, table, left, top, columns, rows) {
  Object.assign(canvas, { width: columns, height: rows });
  const context = canvas.getContext("2d"), picture = context.createImageData(columns, rows);
  paint(new Uint32Array(picture.data.buffer), film, table, left, top, columns, rows);
  context.putImageData(picture, 0, 0);
  return canvas;
}
