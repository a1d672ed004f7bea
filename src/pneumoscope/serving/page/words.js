// Every word on the page, in two languages. A word whose name ends in `.own` is for bundles with class names of a site's own.
const WORDS = {
  en: {
    skip: "Skip to the content", pages: "Pages", worklist: "Worklist", performance: "How good is it?", watch: "Watch",
    about: "About and limits", "about.own": "About", keys: "Keys", language: "Language", light: "Light", dark: "Dark",
    notice: "Research use only. Not a medical device.",
    drop: "Drop chest films here", dropMore: "or choose files: JPEG, PNG, DICOM. Nothing is kept.",
    dropMoreKept: "or choose files: JPEG, PNG, DICOM. Decisions are kept on this service, images are not.",
    operatingPoint: "Operating point", balanced: "balanced", sensitive: "sensitive", specific: "specific",
    prevalence: "Prevalence", filter: "Filter by decision", all: "all", progress: "Films judged",
    films: "Films, the most urgent first", empty: "No films yet. Everything stays between this browser and this service.",
    emptyFilter: "No film with this decision.", csv: "Export CSV", print: "Print report", clear: "Clear",
    viewer: "Viewer", toolWindow: "Window", toolWindowHint: "Drag: across for contrast, down for brightness (W)",
    toolPan: "Pan", toolPanHint: "Drag to move the film (P)", zoomIn: "Zoom in", zoomOut: "Zoom out", fit: "Fit",
    invert: "Invert", compare: "Compare", evidence: "Evidence",
    choose: "Choose a film from the list.", chooseCompare: "Choose a second film from the list to compare.",
    loading: "Decoding …", noPicture: "This file holds no film to show.",
    normal: "normal", pneumonia: "pneumonia", refer: "refer", rejected: "rejected", waiting: "waiting …", failed: "not judged",
    bacterial: "bacterial", viral: "viral",
    chance: "probability of pneumonia", threshold: "pneumonia from {value} on",
    weak: "If pneumonia: {kinds}. Which kind it is, is weak evidence: a film does not tell them apart.",
    referAdvice: "A person should read this film.",
    at: "Operating point {name}: sensitivity {sensitivity}, specificity {specificity}, on {films}.",
    judgedBy: "Judged by {name} {version}, bundle {bundle}. File {file}.",
    evidenceLabel: "Chest film {name}: {decision}",
    notValidated: "not validated for such an image",
    "reason.unreadable": "The file cannot be read as an image.",
    "reason.unsupported_dicom": "A DICOM object that is not one grey frame.",
    "reason.too_small": "Too few pixels: take the original.",
    "reason.poor_exposure": "One grey nearly everywhere: expose it anew.",
    "reason.inverted": "A chest, black for white: invert the image.",
    "reason.not_a_radiograph": "Not a radiograph of a chest.",
    "reason.not_frontal_chest": "Not an upright frontal chest film.",
    "reason.near_threshold": "The probability lies near the threshold.",
    "reason.outside_population": "Unlike the radiographs that the detector was validated on.",
    "reason.outside_age": "Outside the ages that the detector was validated for.",
    "reason.outside_view": "A view that the detector was not validated for.",
    "reason.outside_body_part": "The header names another part of the body.",
    "reason.outside_modality": "The header names another modality.",
    judgedCount: "{done} of {all} films judged.", offline: "The service does not answer. Is it still running?",
    keyRefused: "This key is not accepted.", keyTitle: "A key is needed", keyLabel: "Key", keyGo: "Go on",
    reportTitle: "Chest films judged", reportCount: "{count} images: {parts}.", file: "File", decision: "Decision",
    probability: "Probability", why: "Reasons; kind (weak evidence)", "why.own": "Reasons", film: "Film",
    keysTitle: "Keys", close: "Close",
    key_move: "next, previous film", key_evidence: "evidence on or off", key_invert: "invert", key_zoom: "zoom",
    key_fit: "fit", key_tools: "window, pan", key_compare: "compare with the next film chosen", key_filter: "next filter",
    key_open: "choose files", key_help: "these keys",
    perfTitle: "How good is it?",
    perfLead: "{title} on the {films} official test films of {patients} children, which it never learnt from: {normal} normal, {pneumonia} with pneumonia. Intervals hold 95 %, by bootstrap over children.",
    perfNone: "This bundle was not measured on the official test films. What it had on the films it was fitted on:",
    "perfNone.own": "Operating points, as fitted on {films}:",
    perfSite: "Adapted to a site, and measured there by nested cross-validation on {films} films of {patients} patients, each predicted without the films of its patient. Intervals hold 95 %, by bootstrap over patients.",
    patientsUnknown: "The patient of some films is not known; each of these counts as a patient of its own. If several are of one patient, these figures are too good.",
    decidedOnly: "Sensitivity and specificity are those of the films with a decision, {share} of all; the others are referred.",
    moreFilms: "Would more films help?", warning: "Warning:",
    accuracy: "Accuracy", sensitivity: "Sensitivity", specificity: "Specificity", auc: "Area under the curve",
    threeClass: "Normal, bacterial, viral", ece: "Calibration error",
    moveTitle: "Move the operating point", moveThreshold: "Pneumonia from this probability on",
    movePrevalence: "Of 100 children, so many have pneumonia",
    ppv: "If it says pneumonia, it is right", npv: "If it says normal, it is right",
    thousand: "Of 1,000 children {sick} have pneumonia: {found} are found, {missed} missed. Of the {well} others {alarm} are alarmed for nothing.",
    matrixTitle: "On the test films", isPneumonia: "has pneumonia", isNormal: "is normal", saysPneumonia: "says pneumonia", saysNormal: "says normal",
    rocTitle: "Receiver operating characteristic", calibrationTitle: "Calibration",
    calibrationText: "Of the films that were given a probability, so many had pneumonia. On the diagonal it keeps its word.",
    falseAlarms: "false alarms, %", foundShare: "pneumonias found, %", givenProbability: "probability given, %", had: "had pneumonia, %",
    besideTitle: "Beside the study's networks", besideText: "On the same test films; the study's networks as repeated here, mean of {seeds} trainings ± standard deviation. Two classes: normal or pneumonia.",
    network: "Network",
    validation: "on films that it was fitted on",
    shift: "Measured on films of one hospital. On films of another one, on other devices, of other ages it is likely to be worse, and nobody has measured by how much.",
    "shift.own": "On films of another site, of other devices or other ages it is likely to be worse, and nobody has measured by how much.",
    watchTitle: "Have the films changed?",
    watchLead: "The last {images} images ({rejected} of them rejected) beside the films that the detector was fitted on. What changes here says that figures measured there may no longer hold; that more children are ill changes the first line too.",
    "watchLead.own": "The last {images} images ({rejected} of them rejected) beside the films that the detector was fitted on. What changes here says that figures measured there may no longer hold; more cases of pneumonia change the first line too.",
    watchNone: "This bundle kept no reference to compare with.", statistic: "Statistic", index: "Index", byChance: "by chance alone", verdict: "Verdict", lastFilms: "last films (bars), reference (line)",
    "stat.probability": "probability of pneumonia", "stat.brightness": "brightness", "stat.contrast": "contrast",
    "stat.similarity": "likeness to the mean chest", "stat.distance": "distance from chest films",
    rejectedShare: "rejected", too_few: "too few to tell", steady: "steady", moved: "moved", drifted: "drifted",
    historyTitle: "What was decided", historyOff: "Nothing is kept: the service was started without --history FILE.",
    search: "Search names and hashes", searchGo: "Search", deleteAll: "Delete all", deleteOne: "Delete", time: "Time (UTC)", really: "Delete everything that was kept?", more: "More", historyEmpty: "Nothing found.",
    aboutTitle: "About this detector, and its limits", "aboutTitle.own": "About this detector", use: "For", detector: "Detector", fittedOn: "Operating points from", licence: "Licence", citation: "Data", identity: "Bundle (SHA-256)", notForTitle: "Not for",
    notFor: ["Diagnosis, treatment, triage of patients.", "Adults, older children, newborns; lateral films; other parts of the body; CT and MR.", "Telling bacterial from viral pneumonia: what it says of the kind is weak evidence."],
    limitsTitle: "Limits",
    limits: ["One hospital, one country, some devices; the test films come from the same archive.", "The input guard rejects what is no frontal chest film, nearly always. A chest of another age or country passes: the outlines do not tell.", "Probabilities hold for the prevalence that is set on the worklist.", "The evidence map shows where an answer comes from, coarsely. It does not show that the answer is right.", "Some of the labels it learnt from are wrong; how many is not known."],
    privacyTitle: "What happens to a film",
    privacy: ["It goes from this browser to this service, is judged in memory, and is forgotten.", "The request log holds ids, hashes and decisions, never names or images. With --history decisions and file names are kept until they are deleted.", "The page loads nothing from elsewhere."],
    moreTitle: "For programs", moreText: "The same service as an HTTP interface: ", unknown: "–",
  },
  fr: {
    skip: "Aller au contenu", pages: "Pages", worklist: "Liste de travail", performance: "Quelle fiabilité ?", watch: "Surveillance",
    about: "À propos et limites", "about.own": "À propos", keys: "Touches", language: "Langue", light: "Clair", dark: "Sombre",
    notice: "Réservé à la recherche. Ceci n’est pas un dispositif médical.",
    drop: "Déposez des radiographies thoraciques", dropMore: "ou choisissez des fichiers : JPEG, PNG, DICOM. Rien n’est conservé.",
    dropMoreKept: "ou choisissez des fichiers : JPEG, PNG, DICOM. Les décisions sont conservées par ce service, pas les images.",
    operatingPoint: "Point de fonctionnement", balanced: "équilibré", sensitive: "sensible", specific: "spécifique",
    prevalence: "Prévalence", filter: "Filtrer par décision", all: "tout", progress: "Radiographies jugées",
    films: "Radiographies, les plus urgentes d’abord", empty: "Aucune radiographie. Tout reste entre ce navigateur et ce service.",
    emptyFilter: "Aucune radiographie avec cette décision.", csv: "Exporter CSV", print: "Imprimer", clear: "Vider",
    viewer: "Visionneuse", toolWindow: "Fenêtre", toolWindowHint: "Glisser : en largeur le contraste, en hauteur la luminosité (W)",
    toolPan: "Déplacer", toolPanHint: "Glisser pour déplacer l’image (P)", zoomIn: "Agrandir", zoomOut: "Réduire", fit: "Ajuster",
    invert: "Inverser", compare: "Comparer", evidence: "Indices",
    choose: "Choisissez une radiographie dans la liste.", chooseCompare: "Choisissez une seconde radiographie à comparer.",
    loading: "Décodage …", noPicture: "Ce fichier ne contient pas de radiographie à montrer.",
    normal: "normal", pneumonia: "pneumonie", refer: "à relire", rejected: "rejeté", waiting: "en attente …", failed: "non jugé",
    bacterial: "bactérienne", viral: "virale",
    chance: "probabilité de pneumonie", threshold: "pneumonie à partir de {value}",
    weak: "Si pneumonie : {kinds}. L’origine n’est qu’un indice faible : une radiographie ne les distingue pas.",
    referAdvice: "Une personne devrait lire cette radiographie.",
    at: "Point de fonctionnement {name} : sensibilité {sensitivity}, spécificité {specificity}, sur {films}.",
    judgedBy: "Jugé par {name} {version}, modèle {bundle}. Fichier {file}.",
    evidenceLabel: "Radiographie thoracique {name} : {decision}",
    notValidated: "non validée pour une telle image",
    "reason.unreadable": "Le fichier n’est pas une image lisible.",
    "reason.unsupported_dicom": "Un objet DICOM qui n’est pas une seule image en niveaux de gris.",
    "reason.too_small": "Trop peu de pixels : prenez l’original.",
    "reason.poor_exposure": "Presque partout le même gris : exposez à nouveau.",
    "reason.inverted": "Un thorax en négatif : inversez l’image.",
    "reason.not_a_radiograph": "Ce n’est pas une radiographie du thorax.",
    "reason.not_frontal_chest": "Ce n’est pas un thorax de face, debout.",
    "reason.near_threshold": "La probabilité est proche du seuil.",
    "reason.outside_population": "Différente des radiographies sur lesquelles le détecteur a été validé.",
    "reason.outside_age": "Hors des âges pour lesquels le détecteur a été validé.",
    "reason.outside_view": "Une incidence pour laquelle le détecteur n’a pas été validé.",
    "reason.outside_body_part": "L’en-tête indique une autre partie du corps.",
    "reason.outside_modality": "L’en-tête indique une autre modalité.",
    judgedCount: "{done} radiographies jugées sur {all}.", offline: "Le service ne répond pas. Fonctionne-t-il encore ?",
    keyRefused: "Cette clé n’est pas acceptée.", keyTitle: "Une clé est nécessaire", keyLabel: "Clé", keyGo: "Continuer",
    reportTitle: "Radiographies thoraciques jugées", reportCount: "{count} images : {parts}.", file: "Fichier", decision: "Décision",
    probability: "Probabilité", why: "Raisons ; origine (indice faible)", "why.own": "Raisons", film: "Image",
    keysTitle: "Touches", close: "Fermer",
    key_move: "radiographie suivante, précédente", key_evidence: "indices oui ou non", key_invert: "inverser", key_zoom: "zoom",
    key_fit: "ajuster", key_tools: "fenêtre, déplacer", key_compare: "comparer avec la prochaine choisie", key_filter: "filtre suivant",
    key_open: "choisir des fichiers", key_help: "ces touches",
    perfTitle: "Quelle fiabilité ?",
    perfLead: "{title} sur les {films} radiographies du test officiel de {patients} enfants, jamais vues à l’apprentissage : {normal} normales, {pneumonia} avec pneumonie. Intervalles à 95 %, par bootstrap sur les enfants.",
    perfNone: "Ce modèle n’a pas été mesuré sur le test officiel. Ce qu’il avait sur les images de son réglage :",
    "perfNone.own": "Points de fonctionnement, réglés sur {films} :",
    perfSite: "Adapté à un site, et mesuré là-bas par validation croisée imbriquée sur {films} images de {patients} patients, chacune prédite sans les images de son patient. Intervalles à 95 %, par bootstrap sur les patients.",
    patientsUnknown: "Le patient de certaines images n’est pas connu ; chacune compte comme un patient. Si plusieurs sont d’un même patient, ces chiffres sont trop bons.",
    decidedOnly: "Sensibilité et spécificité sont celles des images avec une décision, {share} de toutes ; les autres sont à relire.",
    moreFilms: "Plus d’images aideraient-elles ?", warning: "Attention :",
    accuracy: "Exactitude", sensitivity: "Sensibilité", specificity: "Spécificité", auc: "Aire sous la courbe",
    threeClass: "Normal, bactérienne, virale", ece: "Erreur de calibration",
    moveTitle: "Déplacer le point de fonctionnement", moveThreshold: "Pneumonie à partir de cette probabilité",
    movePrevalence: "Sur 100 enfants, tant ont une pneumonie",
    ppv: "S’il dit pneumonie, il a raison", npv: "S’il dit normal, il a raison",
    thousand: "Sur 1 000 enfants, {sick} ont une pneumonie : {found} sont trouvés, {missed} manqués. Des {well} autres, {alarm} sont alarmés pour rien.",
    matrixTitle: "Sur les images du test", isPneumonia: "a une pneumonie", isNormal: "est normal", saysPneumonia: "dit pneumonie", saysNormal: "dit normal",
    rocTitle: "Courbe ROC", calibrationTitle: "Calibration",
    calibrationText: "Parmi les images ayant reçu une probabilité, tant avaient une pneumonie. Sur la diagonale, il tient parole.",
    falseAlarms: "fausses alarmes, %", foundShare: "pneumonies trouvées, %", givenProbability: "probabilité donnée, %", had: "avaient une pneumonie, %",
    besideTitle: "À côté des réseaux de l’étude", besideText: "Sur les mêmes images du test ; les réseaux de l’étude répétés ici, moyenne de {seeds} apprentissages ± écart type. Deux classes : normal ou pneumonie.",
    network: "Réseau",
    validation: "sur les images de son réglage",
    shift: "Mesuré sur les images d’un seul hôpital. Sur celles d’un autre, d’autres appareils, d’autres âges, il sera sans doute moins bon, et personne n’a mesuré de combien.",
    "shift.own": "Sur les images d’un autre site, d’autres appareils, d’autres âges, il sera sans doute moins bon, et personne n’a mesuré de combien.",
    watchTitle: "Les images ont-elles changé ?",
    watchLead: "Les {images} dernières images (dont {rejected} rejetées) à côté de celles du réglage. Ce qui change ici dit que les chiffres mesurés là-bas ne valent peut-être plus ; davantage d’enfants malades change aussi la première ligne.",
    "watchLead.own": "Les {images} dernières images (dont {rejected} rejetées) à côté de celles du réglage. Ce qui change ici dit que les chiffres mesurés là-bas ne valent peut-être plus ; davantage de cas de pneumonie changent aussi la première ligne.",
    watchNone: "Ce modèle n’a pas gardé de référence.", statistic: "Statistique", index: "Indice", byChance: "par hasard", verdict: "Verdict", lastFilms: "dernières images (barres), référence (ligne)",
    "stat.probability": "probabilité de pneumonie", "stat.brightness": "luminosité", "stat.contrast": "contraste",
    "stat.similarity": "ressemblance au thorax moyen", "stat.distance": "distance aux thorax",
    rejectedShare: "rejetées", too_few: "trop peu pour le dire", steady: "stable", moved: "a bougé", drifted: "a dérivé",
    historyTitle: "Ce qui a été décidé", historyOff: "Rien n’est conservé : le service a été lancé sans --history FICHIER.",
    search: "Chercher noms et empreintes", searchGo: "Chercher", deleteAll: "Tout supprimer", deleteOne: "Supprimer", time: "Heure (UTC)", really: "Supprimer tout ce qui a été conservé ?", more: "Suite", historyEmpty: "Rien trouvé.",
    aboutTitle: "À propos de ce détecteur, et ses limites", "aboutTitle.own": "À propos de ce détecteur", use: "Pour", detector: "Détecteur", fittedOn: "Points de fonctionnement d’après", licence: "Licence", citation: "Données", identity: "Modèle (SHA-256)", notForTitle: "Pas pour",
    notFor: ["Le diagnostic, le traitement, le tri de patients.", "Les adultes, les enfants plus âgés, les nouveau-nés ; les vues de profil ; d’autres parties du corps ; TDM et IRM.", "Distinguer pneumonie bactérienne et virale : ce qu’il en dit est un indice faible."],
    limitsTitle: "Limites",
    limits: ["Un hôpital, un pays, quelques appareils ; les images du test viennent des mêmes archives.", "Le filtre d’entrée rejette ce qui n’est pas un thorax de face, presque toujours. Un thorax d’un autre âge ou pays passe : les contours ne le disent pas.", "Les probabilités valent pour la prévalence réglée dans la liste de travail.", "La carte des indices montre, grossièrement, d’où vient la réponse. Elle ne montre pas que la réponse est juste.", "Certaines étiquettes d’apprentissage sont fausses ; on ne sait pas combien."],
    privacyTitle: "Ce que devient une image",
    privacy: ["Elle va de ce navigateur à ce service, est jugée en mémoire, puis oubliée.", "Le journal contient identifiants, empreintes et décisions, jamais de noms ni d’images. Avec --history, décisions et noms de fichiers sont conservés jusqu’à leur suppression.", "La page ne charge rien d’ailleurs."],
    moreTitle: "Pour les programmes", moreText: "Le même service comme interface HTTP : ", unknown: "–",
  },
};

const kept = localStorage.getItem("language");
let language = kept && WORDS[kept] ? kept : navigator.language.toLowerCase().startsWith("fr") ? "fr" : "en";

export const currentLanguage = () => language;
export const allWords = WORDS;

// Names of the negative and the positive class where they are a site's own; null for normal and pneumonia.
export let ownClasses = null;

export function useClasses(classes) {
  ownClasses = classes.length === 2 && classes.join() !== "normal,pneumonia" ? classes : null;
}

// Holes are filled, and normal and pneumonia get the names of a site's own classes.
export function t(name, values = {}) {
  const word = (ownClasses && WORDS[language][`${name}.own`]) ?? WORDS[language][name] ?? name;
  if (typeof word !== "string") return word;
  return word.replace(/\{(\w+)\}|\b(?:(normal)e?s?|pneumoni[ae]s?)\b/gi, (found, key, negative) =>
    key ? values[key] ?? "" : ownClasses ? ownClasses[negative ? 0 : 1] : found);
}

// The decision on record, which may be of a bundle with other classes than the present one.
export const decisionWord = ({ decision, outcome }) => (outcome === decision ? WORDS[language][decision] : outcome);

export const percent = (share, digits = 1) =>
  new Intl.NumberFormat(language, { style: "percent", minimumFractionDigits: digits, maximumFractionDigits: digits }).format(share);
export const count = (value) => new Intl.NumberFormat(language).format(value);

// Words of the static page; what is drawn by scripts asks for its words when it is drawn.
export function useLanguage(next) {
  language = next;
  localStorage.setItem("language", next);
  document.documentElement.lang = next;
  for (const node of document.querySelectorAll("[data-word]")) node.textContent = t(node.dataset.word);
  for (const node of document.querySelectorAll("[data-label]")) node.setAttribute("aria-label", t(node.dataset.label));
  for (const node of document.querySelectorAll("[data-hint]")) node.title = t(node.dataset.hint);
}
