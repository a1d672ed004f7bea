// Sentences that bundles and predictions hold in English, in plain words and in the language of the page.
import { h } from "./dom.js";
import { reveal } from "./names.js";
import { decimal, t } from "./words.js";

// Form of a sentence to the word that says it; what a group names fills the hole of that name.
const SENTENCES = [
  [/^out-of-fold predictions of (?<folds>\d+) folds by acquisition cluster for (?<images>\d+) training images: .*$/, "fitted.folds"],
  [/^(?<images>\d+) validation films of the training, drawn by \w+$/, "fitted.validation"],
  [/^(?<images>\d+) images of (?<origin>.+), each held out in turn$/, "fitted.site"],
  [/^Research on frontal chest radiographs of children of 1 to 5 years: normal or pneumonia, and of pneumonia, as weak evidence, bacterial or viral\. Not for adults, lateral films, other body parts, CT or MR, nor for deciding on treatment\.$/, "use.shipped"],
  [/^Research on images like the (?<images>[\d,]+) of (?<origin>.+) that it was (?:trained on|fitted to): (?<classes>.+?)\.(?: Its performance elsewhere is unknown\. Not for deciding on treatment\.)?$/, "use.images"],
  [/^Apache-2\.0; trained on images under CC BY 4\.0$/, "licence.shipped"],
  [/^Apache-2\.0; trained on images under CC BY 4\.0; adapted to images of (?<origin>.+)$/, "licence.site"],
  [/^not stated$/, "licence.none"],
  [/^expected a projection radiograph, found the modality (?<found>.+) in the header$/, "detail.modality"],
  [/^expected the body part CHEST, found (?<found>.+) in the header$/, "detail.bodyPart"],
  [/^expected the view (?<expected>.+), found (?<found>.+) in the header$/, "detail.view"],
  [/^no age in the header: whether the patient is (?<youngest>\d+) to (?<oldest>\d+) years old is not known$/, "detail.noAge"],
  [/^expected a patient of (?<youngest>\d+) to (?<oldest>\d+) years, found (?<found>[\d.e+-]+) in the header$/, "detail.age"],
  [/^expected at least (?<least>\d+) pixels a side, found (?<width>\d+) x (?<height>\d+): take the original$/, "detail.tooSmall"],
  [/^expected a film with light and dark, found one grey nearly everywhere: expose it anew$/, "reason.poor_exposure"],
  [/^expected bone bright and air dark, found the opposite: invert the image$/, "reason.inverted"],
  [/^expected a frontal chest radiograph, found nothing like one$/, "reason.not_a_radiograph"],
  [/^expected an upright frontal chest radiograph, found another view or part of the body$/, "reason.not_frontal_chest"],
  [/^(?:unlike the radiographs that the detector was validated on \(distance [\d.]+, inside up to 1\))?(?: and )?(?:(?:darker|brighter|noisier|of less contrast|of more contrast)(?: and )?)*(?: than the radiographs that the detector was validated on)?: its figures say nothing about this image$/, "detail.outside"],
];
// Causes in the brackets are for who exports the files, and stay as they are.
const WITH_CAUSE = [
  [/^expected a whole JPEG, PNG or DICOM image, found (?<file>.*) \((?<cause>.*)\): replace it$/s, "detail.unreadable"],
  [/^expected one grey frame, found (?<file>.*) \((?<cause>.*)\): export it as such$/s, "detail.unsupported"],
];

const inEnglish = (text) => h("span", { lang: "en" }, reveal(text));

// Numbers as the language writes them.
function written(value) {
  if (!/^\d[\d,]*(\.\d+)?$/.test(value)) return reveal(value);
  return decimal(Number(value.replaceAll(",", "")), (value.split(".")[1] ?? "").length);
}

// A sentence that is not known stays English, and is marked as such.
export function inWords(text) {
  for (const [form, word] of SENTENCES) {
    const found = form.exec(text);
    if (found) return t(word, Object.fromEntries(Object.entries(found.groups ?? {}).map(([name, value]) => [name, written(value)])));
  }
  return inEnglish(text);
}

// What a prediction says of an image, without what its reasons say already.
export function detailInWords({ detail, reasons }) {
  for (const [form, word] of WITH_CAUSE) {
    const found = form.exec(detail)?.groups;
    if (found) return [t(word, { file: reveal(found.file) }), " ", h("small", { lang: "en" }, `(${reveal(found.cause)})`)];
  }
  const said = reasons.map((reason) => t(`reason.${reason}`));
  return detail.split("; ").filter(Boolean).map(inWords).filter((words) => !said.includes(words)).flatMap((words, place) => (place ? [" ", words] : [words]));
}
