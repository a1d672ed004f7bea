// Every word on the page, in two languages. A word whose name ends in `.own` is for the bundle of a site.
const WORDS = {
  en: {
    skip: "Skip to the content", pages: "Pages", worklist: "Worklist", performance: "How good is it?", watch: "Watch",
    about: "About and limits", "about.own": "About", keys: "Keys", language: "Language", light: "Light", dark: "Dark",
    notice: "Research use only. Not a medical device.",
    drop: "Drop chest films here", dropMore: "or choose files: JPEG, PNG, DICOM. Nothing is kept.",
    dropMoreKept: "or choose files: JPEG, PNG, DICOM. Decisions are kept on this service, images are not.",
    operatingPoint: "Operating point", balanced: "balanced", sensitive: "sensitive", specific: "specific",
    prevalence: "Prevalence", filter: "Filter by decision", all: "all", progress: "Films analysed",
    films: "Films, the most urgent first", empty: "No films yet. Everything stays between this browser and this service.",
    emptyFilter: "No film with this decision.", csv: "Export CSV", print: "Print report", clear: "Clear",
    viewer: "Viewer", toolWindow: "Window", toolWindowHint: "Drag: across for contrast, down for brightness (W)",
    toolPan: "Pan", toolPanHint: "Drag to move the film (H)", zoomIn: "Zoom in", zoomOut: "Zoom out", fit: "Fit",
    invert: "Invert", compare: "Compare", evidence: "Evidence",
    choose: "Choose a film from the list.", chooseCompare: "Choose a second film from the list to compare.",
    loading: "Decoding …", noPicture: "This file holds no film to show.",
    normal: "normal", pneumonia: "pneumonia", refer: "refer", rejected: "rejected", waiting: "waiting …", failed: "not analysed",
    bacterial: "bacterial", viral: "viral",
    chance: "probability of pneumonia", threshold: "pneumonia from {value} on",
    weak: "If pneumonia: {kinds}. Which kind it is, is weak evidence: a film does not tell them apart.",
    referAdvice: "A person should read this film.",
    zones: "Evidence for pneumonia by lung zone, the patient's sides: {zones}.", "zones.own": "Evidence by lung zone, the patient's sides: {zones}.",
    noZone: "no zone with 20 %", notPlaced: "Lung zones not placed.", zonesWait: "Lung zones: loading.",
    "zone.right_upper": "right upper", "zone.right_middle": "right middle", "zone.right_lower": "right lower",
    "zone.left_upper": "left upper", "zone.left_middle": "left middle", "zone.left_lower": "left lower", "zone.outside": "outside the lungs",
    at: "Operating point {name}. As fitted, on validation films: sensitivity {sensitivity}, specificity {specificity}.",
    predictedBy: "Predicted by {name} {version}, bundle {bundle}. File {file}.",
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
    analysedCount: "{done} of {all} films analysed.", offline: "The service does not answer. Is it still running?",
    keyRefused: "This key is not accepted.", keyTitle: "A key is needed", keyLabel: "Key", keyGo: "Go on",
    reportTitle: "Chest films analysed", reportCount: "{count} images: {parts}.", file: "File", decision: "Decision",
    probability: "Probability", why: "Reasons; kind (weak evidence)", "why.own": "Reasons", film: "Film",
    keysTitle: "Keys", close: "Close",
    key_move: "next, previous film", key_evidence: "evidence on or off", key_invert: "invert", key_zoom: "zoom",
    key_fit: "fit", key_tools: "window, pan", key_compare: "compare with the next film chosen", key_filter: "next filter",
    key_open: "choose files", key_help: "these keys",
    perfTitle: "How good is it?",
    perfLead: "{title} on the {films} official test films of {patients} children, which it never learnt from: {normal} normal, {pneumonia} with pneumonia. Intervals hold 95 %, by bootstrap over children.",
    perfNone: "This detector was not measured on the official test films. Sensitivity and specificity as fitted, on validation films:",
    "perfNone.own": "Sensitivity and specificity as fitted, on validation films:",
    perfSite: "Adapted to a site, and measured there by nested cross-validation on {films} films of {patients} patients, each predicted without the films of its patient. Intervals hold 95 %, by bootstrap over patients.",
    patientsUnknown: "The patient of some films is not known; each of these counts as a patient of its own. If several are of one patient, these figures are too good.",
    decidedOnly: "Sensitivity and specificity are those of the films with a decision, {share} of all; the others are referred.",
    moreFilms: "Would more films help?", warning: "Warning:",
    accuracy: "Accuracy", sensitivity: "Sensitivity", specificity: "Specificity", auc: "Area under the curve",
    threeClass: "Normal, bacterial, viral", ece: "Calibration error",
    moveTitle: "Move the operating point", moveThreshold: "Pneumonia from this probability on",
    movePrevalence: "Of 100 children, so many have pneumonia",
    ppv: "If it says pneumonia, it is right (PPV)", npv: "If it says normal, it is right (NPV)",
    thousand: "Of 1,000 children {ill} have pneumonia: {found} are found, {missed} missed. Of the {well} others {alarm} are alarmed for nothing.",
    matrixTitle: "Test films, if every film were decided", isPneumonia: "has pneumonia", isNormal: "is normal", saysPneumonia: "says pneumonia", saysNormal: "says normal",
    rocTitle: "Receiver operating characteristic", calibrationTitle: "Calibration",
    calibrationText: "Of the films that were given a probability, so many had pneumonia. On the diagonal it keeps its word.",
    falseAlarms: "false alarms, %", foundShare: "pneumonias found, %", givenProbability: "probability given, %", had: "had pneumonia, %",
    besideTitle: "Beside the study's networks", besideText: "On the same test films; the study's networks as repeated here, mean of {seeds} trainings ± standard deviation. Two classes: normal or pneumonia.",
    network: "Network",
    shift: "Measured on films of one hospital. On films of another one, on other devices, of other ages it is likely to be worse, and nobody has measured by how much.",
    "shift.own": "On films of another site, of other devices or other ages it is likely to be worse, and nobody has measured by how much.",
    watchTitle: "Have the films changed?",
    watchLead: "The last {images} images ({rejected} of them rejected) beside the films that the detector was fitted on. What changes here says that figures measured there may no longer hold; that more children are ill changes the first line too.",
    "watchLead.own": "The last {images} images ({rejected} of them rejected) beside the films that the detector was fitted on. What changes here says that figures measured there may no longer hold; more cases of pneumonia change the first line too.",
    watchNone: "This bundle kept no reference to compare with.", statistic: "Statistic", index: "Index", byChance: "by chance alone", verdict: "Verdict", lastFilms: "last films (bars), reference (line)",
    "stat.probability": "probability of pneumonia", "stat.brightness": "brightness", "stat.contrast": "contrast",
    "stat.similarity": "likeness to the mean chest", "stat.distance": "distance from chest films",
    too_few: "too few to tell", steady: "steady", moved: "moved", drifted: "drifted",
    historyTitle: "What was decided", historyOff: "Nothing is kept: the service was started without --history FILE.",
    search: "Search names and hashes", searchGo: "Search", deleteAll: "Delete all", deleteOne: "Delete", time: "Time (UTC)", really: "Delete everything that was kept?", reallyOne: "Delete this decision?", more: "More", historyEmpty: "Nothing found.",
    aboutTitle: "About this detector, and its limits", "aboutTitle.own": "About this detector", detector: "Detector", fittedOn: "Operating points from", licence: "Licence", citation: "Data", identity: "Bundle (SHA-256)", notForTitle: "Not for",
    notFor: ["Diagnosis, treatment, triage of patients.", "Adults, older children, newborns; lateral films; other parts of the body; CT and MR.", "Telling bacterial from viral pneumonia: what it says of the kind is weak evidence."],
    limitsTitle: "Limits",
    limits: ["One hospital, one country, some devices; the test films come from the same archive.", "The input guard rejects what is no frontal chest film, nearly always. A chest of another age or country passes: the outlines do not tell.", "Probabilities hold for the prevalence that is set on the worklist.", "The evidence map shows where an answer comes from, coarsely. It does not show that the answer is right.", "Some of the labels it learnt from are wrong; how many is not known."],
    privacyTitle: "What happens to a film",
    privacy: ["It goes from this browser to this service, is analysed in memory, and is forgotten.", "The request log holds ids, hashes and decisions, never names or images. With --history decisions and file names are kept until they are deleted.", "Labelled films that are sent to adapt the service lie there until that is done.", "The page loads nothing from elsewhere."],
    labels: "Labels", label: "Label", labelGroup: "Label of the chosen film", labelHint: "N and P label the chosen film, as in the two fields; the same key again, or U, removes the label.",
    negativeName: "Negative class (N)", positiveName: "Positive class (P)", exportLabels: "Export labels", unlabelled: "unlabelled",
    labelled: "Label of {name}: {label}.", labelRemoved: "No label on {name}.", labelOf: "label:", toAdapt: "Adapt to this site …",
    namesWrong: "Two different names are needed, of letters, digits and spaces; the usual two go together alone.",
    twoLabels: "{files}: the same image with two labels. Correct one of them.", forgetLabels: "Remove all films from the list, and forget their labels?", forgetFilms: "Remove all films from the list?", retry: "Try again", evidenceLoading: "Evidence is computed …", evidenceFailed: "No evidence: {why}", evidenceFor: "for pneumonia", evidenceAgainst: "for normal", referBand: "referred from {from} to {to}",
    key_label: "label negative, positive; no label", detectorInUse: "Detector: {name} {version}.",
    bundleChanged: "The service now predicts with {name} {version}; the films are analysed again.",
    accepts: "This service refers no film to a reader for these reasons:", acceptsNone: "Films unlike those that it was validated on are referred to a reader.",
    adapt: "Adapt", adaptTitle: "Adapt to this site",
    adaptLead: "From the films labelled on the worklist the service makes a detector of this site’s own: calibrated anew, or with a new last layer, whichever is as good and simpler. Each film is predicted without the films of its patient, which shows what the new detector is worth here. If that is no better than chance, none is made.",
    adaptNeeds: "Needed: at least {fewest} of each class, of five patients each; a few hundred are better. The labelled films are sent to the service, kept there until the work is done, and deleted.",
    adaptOff: "The service was started without --adaptations FOLDER: it does not adapt. Labels can be exported on the worklist, for pneumoscope adapt --data.",
    adaptLabels: "Labelled on the worklist", adaptName: "Name of the new detector", adaptStart: "Start", adaptTooFew: "{missing} more to label: {parts}.",
    sending: "Films sent: {done} of {all}", "stage.": "Starting …", "stage.images_described": "Films described", "stage.candidates_cross-validated": "Cross-validation", "stage.folds_cross-validated": "Cross-validation",
    "stage.repeats_of_the_learning_curve": "Would more films help?", ofParts: "{done} of {all}", cancel: "Cancel", adaptRunning: "At work", collecting: "The service waits for films that another page sends.",
    adaptResults: "Adaptations", adaptNone: "None yet.", adaptedTo: "{films} films of {patients} patients, {began}",
    made: "{method}: AUC {auc} ({low} – {high}) by cross-validation.", notMade: "No better than chance: no detector was made. AUC {auc} ({low} – {high}) by cross-validation.",
    failedAdaptation: "No detector was made. The service says:", "method.calibrate": "The detector, calibrated anew", "method.linear": "A new last layer", "method.fine-tune": "All layers trained anew",
    beforeAdapting: "The detector before, on the same films: AUC {auc} ({low} – {high}).", report: "Report", useIt: "Use this detector", useOriginal: "Back to the original", inUse: "in use", download: "Download",
    switching: "Starting its processes …", original: "the service’s own detector", deleteAdaptation: "Delete this adaptation and its detector?",
    helpYes: "More films would help: from {first} to {last} films the AUC changed by {gain}.", helpNo: "More films would hardly help this method: from {first} to {last} films the AUC changed by {gain}.", helpUnknown: "Too few films to say.",
    filesTell: "The label can be predicted without the lung: {alone}files, devices and exposures together {together}. The new detector may have learnt this; {alike}. Collect both classes on the same devices, in the same views, stored alike.",
    filesTellAlone: "{property} alone gives an AUC of {auc}, ", amongAlike: "among films stored and exposed alike, its AUC is {auc} ({low} – {high})", fewAlike: "films of both classes that are stored alike are too few to tell",
    filmTooLarge: "{name} has {size}, and the service takes films of at most {limit}. Remove its label.",
    tooMuchToAdapt: "Labelled are {found} films of {size}; the service takes at most {images} of {limit}. Remove some labels.",
    "property.width": "width", "property.height": "height", "property.aspect ratio": "aspect ratio", "property.bytes per pixel": "bytes per pixel", "property.JPEG quantisation": "JPEG quantisation",
    "property.sharpness": "sharpness", "property.contrast": "contrast", "property.brightness": "brightness", "property.age": "age", "property.sex": "sex", "property.view": "view",
    "problem.adaptation_conflict": "Another adaptation is at work, too many are kept, or this one is in use or has ended.", "problem.adaptation_full": "The service has no room for more films of an adaptation.",
    "citation.own": "Data of the detector before",
    moreTitle: "For programs", moreText: "The same service as an HTTP interface: ", unknown: "–",
    // How good is it?
    detectorNamed: "Detector {name}", "network.cnn_2_classes": "CNN, 2 classes", "network.cnn_3_classes": "CNN, 3 classes", "network.inception_v3": "Inception V3", "network.stacked_cnn": "CNN_1", "network.stacked_cnn_thawed": "CNN_1, base fine-tuned",
    tilesLead: "On these test films, at the balanced operating point; a film that the worklist refers counts by the side of the threshold on which it lies.",
    moveLead: "Sensitivity and specificity belong to the operating point, whatever the prevalence. How often its word is right (PPV, NPV) depends on how common pneumonia is, too: move both.",
    matrixText: "At this threshold, {films} test films; a film that the worklist refers counts by its side of the threshold.",
    referTitle: "The same films, with doubtful ones referred to a reader", referBetween: "What is referred was measured at the operating points of the worklist: choose one of them above.",
    referText: "As the worklist decides: films near the threshold, and films unlike those that it was validated on, get no decision. A person reads them.",
    referredFilms: "Referred to a reader", decidedRight: "Right, of the decided films", sensitivityDecided: "Sensitivity of the decided films", specificityDecided: "Specificity of the decided films",
    nearThreshold: "referred: near the threshold", unlikeValidated: "referred: unlike the films of its validation", referBalanced: "Counts, sensitivity and specificity of the decided films alone were recorded at the balanced operating point.",
    bothTitle: "As fitted, and as measured", validationFilms: "Validation films:", bothText: "The same operating points on two sets of films. They were fitted on validation films. The official test films played no part in that, and are of other patients; figures of one set are not those of the other.",
    asFitted: "as fitted, validation films", asMeasured: "measured, test films", sensitivityOn: "Sensitivity {films}", specificityOn: "Specificity {films}", referredOn: "Referred {films}",
    "fitted.folds": "{images} films of the training set, each predicted by a network that had not learnt from it ({folds} parts that hold devices apart); bacterial and viral pneumonia count alike.",
    "fitted.validation": "{images} films that were kept aside from the training set.", "fitted.site": "{images} films of {origin}, each predicted without the films of its patient.",
    // About
    "use.shipped": "Research on frontal chest films of children of 1 to 5 years: normal or pneumonia; of a pneumonia, as weak evidence, whether it is bacterial or viral. Not for adults, lateral films, other parts of the body, CT or MR, nor for deciding on treatment.",
    "use.images": "Research on films like the {images} of {origin} that it was made from: {classes}. What it is worth elsewhere is not known. Not for deciding on treatment.",
    "licence.shipped": "Apache-2.0; trained on images under CC BY 4.0", "licence.site": "Apache-2.0; trained on images under CC BY 4.0; adapted to images of {origin}", "licence.none": "not stated", detectorPart: "The detector", usePart: "What it is for",
    // What a prediction says of an image
    chanceIs: "probability of pneumonia: {value}", meterSaid: "probability of pneumonia {value}; {threshold}; {band}", "detail.modality": "The header names the modality {found}; it was made for projection radiographs.", "detail.bodyPart": "The header names the body part {found}; it was made for the chest.",
    "detail.view": "The header names the view {found}; it was validated on {expected}.", "detail.noAge": "The header gives no age: whether the patient is {youngest} to {oldest} years old is not known.", "detail.age": "The header gives an age of {found} years; it was validated on patients of {youngest} to {oldest} years.",
    "detail.tooSmall": "It has {width} × {height} pixels; at least {least} a side are needed.", "detail.outside": "What was measured of the detector says nothing about this film.",
    "detail.unreadable": "{file} is no whole JPEG, PNG or DICOM image: replace it.", "detail.unsupported": "{file} is not one grey frame: export it as such.",
    // Watch
    whatToDo: "What to do", "all.steady": "The films are like those that the detector was fitted on.", "all.moved": "Some of what is watched has moved: {names}.", "all.drifted": "The films have drifted from those that the detector was fitted on: {names}.", "all.too_few": "Too few films to tell: {fewest} are needed.",
    "do.steady": "Nothing.", "do.too_few": "Wait for more films.", "do.probability": "Read a sample of the last films yourself and compare: more cases of pneumonia, or wrong decisions?", "do.brightness": "Check exposure and export settings of the device.", "do.contrast": "Check exposure and export settings of the device.",
    "do.similarity": "Look at the last films: another view, position or age?", "do.distance": "Look at the last films: another device, age or part of the body?", "do.rejected": "Look at the rejected films below, and at their reasons.", "do.drifted": "Until that is explained, read every film yourself; if it stays, adapt the detector to this site.",
    rejectedName: "share of rejected films", rejectedNow: "{share} ({low} – {high}); in the reference {reference}", timelineTitle: "Decisions over time", byDay: "By day", byHour: "By hour", "none.day": "Nothing was decided in the last {periods} days.", "none.hour": "Nothing was decided in the last {periods} hours.",
    timelineSaid: "{films} films; referred {referred}, rejected {rejected}.", filmsAxis: "films", shareAxis: "share without a decision", otherClasses: "other classes", asTable: "As a table", period: "Period (UTC)", referredShare: "referred, share", rejectedPart: "rejected, share",
    bannerDrift: "The films have changed since the detector was fitted ({names}); its figures may no longer hold.", bannerGo: "See what to do",
    // Worklist
    prevalenceWhat: "What does the prevalence change?", prevalenceText: "It is the share of pneumonia among the films that you read. The probabilities that are shown follow it, and so does the threshold: the decisions stay the same.",
    // Problems, by the code of the service
    "problem.invalid_request": "The service cannot use this request: a value is missing or outside its range.", "problem.unknown_parameter": "The service does not know a parameter of this request.", "problem.unknown_operating_point": "The detector has no such operating point.",
    "problem.unsupported_media_type": "The service does not take this kind of file.", "problem.too_large": "The file is larger than the service takes.", "problem.too_many_images": "More files than the service takes at a time.", "problem.upload_timeout": "The file did not arrive in time: check the connection, and try again.",
    "problem.unreadable": "There is no film in this file to show.", "problem.stopping": "The service is stopping.", "problem.unknown_host": "The service is not known by this address.", "problem.cross_origin": "The service refuses requests of other web pages.", "problem.not_found": "This is not there any more.",
    "problem.method_not_allowed": "The service cannot do this here.", "problem.bad_request": "The service did not understand the request.", "problem.history_unavailable": "The history cannot be used now; try again soon.", "problem.internal": "The service failed. Its log says why.",
    "problem.unauthorised": "A key is needed.", "problem.busy": "The service has too much to do: try again soon.", "problem.history_off": "Nothing is kept here.", "problem.films_off": "No images are kept here.", "problem.adaptations_off": "The service does not adapt.",
  },
  fr: {
    skip: "Aller au contenu", pages: "Pages", worklist: "Liste de travail", performance: "Quelle fiabilité ?", watch: "Surveillance",
    about: "À propos et limites", "about.own": "À propos", keys: "Touches", language: "Langue", light: "Clair", dark: "Sombre",
    notice: "Réservé à la recherche. Ceci n’est pas un dispositif médical.",
    drop: "Déposez des radiographies thoraciques", dropMore: "ou choisissez des fichiers : JPEG, PNG, DICOM. Rien n’est conservé.",
    dropMoreKept: "ou choisissez des fichiers : JPEG, PNG, DICOM. Les décisions sont conservées par ce service, pas les images.",
    operatingPoint: "Point de fonctionnement", balanced: "équilibré", sensitive: "sensible", specific: "spécifique",
    prevalence: "Prévalence", filter: "Filtrer par décision", all: "tout", progress: "Radiographies analysées",
    films: "Radiographies, les plus urgentes d’abord", empty: "Aucune radiographie. Tout reste entre ce navigateur et ce service.",
    emptyFilter: "Aucune radiographie avec cette décision.", csv: "Exporter CSV", print: "Imprimer", clear: "Vider",
    viewer: "Visionneuse", toolWindow: "Fenêtre", toolWindowHint: "Glisser : en largeur le contraste, en hauteur la luminosité (W)",
    toolPan: "Déplacer", toolPanHint: "Glisser pour déplacer l’image (H)", zoomIn: "Agrandir", zoomOut: "Réduire", fit: "Ajuster",
    invert: "Inverser", compare: "Comparer", evidence: "Indices",
    choose: "Choisissez une radiographie dans la liste.", chooseCompare: "Choisissez une seconde radiographie à comparer.",
    loading: "Décodage …", noPicture: "Ce fichier ne contient pas de radiographie à montrer.",
    normal: "normal", pneumonia: "pneumonie", refer: "à relire", rejected: "rejeté", waiting: "en attente …", failed: "non analysé",
    bacterial: "bactérienne", viral: "virale",
    chance: "probabilité de pneumonie", threshold: "pneumonie à partir de {value}",
    weak: "Si pneumonie : {kinds}. L’origine n’est qu’un indice faible : une radiographie ne les distingue pas.",
    referAdvice: "Une personne devrait lire cette radiographie.",
    zones: "Indices de pneumonie par zone pulmonaire, côtés du patient : {zones}.", "zones.own": "Indices par zone pulmonaire, côtés du patient : {zones}.",
    noZone: "aucune zone avec 20 %", notPlaced: "Zones pulmonaires non situées.", zonesWait: "Zones pulmonaires : chargement.",
    "zone.right_upper": "droite supérieure", "zone.right_middle": "droite moyenne", "zone.right_lower": "droite inférieure",
    "zone.left_upper": "gauche supérieure", "zone.left_middle": "gauche moyenne", "zone.left_lower": "gauche inférieure", "zone.outside": "hors des poumons",
    at: "Point de fonctionnement {name}. Au réglage, sur des radiographies de validation : sensibilité {sensitivity}, spécificité {specificity}.",
    predictedBy: "Jugé par {name} {version}, modèle {bundle}. Fichier {file}.",
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
    analysedCount: "{done} radiographies analysées sur {all}.", offline: "Le service ne répond pas. Fonctionne-t-il encore ?",
    keyRefused: "Cette clé n’est pas acceptée.", keyTitle: "Une clé est nécessaire", keyLabel: "Clé", keyGo: "Continuer",
    reportTitle: "Radiographies thoraciques analysées", reportCount: "{count} images : {parts}.", file: "Fichier", decision: "Décision",
    probability: "Probabilité", why: "Raisons ; origine (indice faible)", "why.own": "Raisons", film: "Image",
    keysTitle: "Touches", close: "Fermer",
    key_move: "radiographie suivante, précédente", key_evidence: "indices oui ou non", key_invert: "inverser", key_zoom: "zoom",
    key_fit: "ajuster", key_tools: "fenêtre, déplacer", key_compare: "comparer avec la prochaine choisie", key_filter: "filtre suivant",
    key_open: "choisir des fichiers", key_help: "ces touches",
    perfTitle: "Quelle fiabilité ?",
    perfLead: "{title} sur les {films} radiographies du test officiel de {patients} enfants, jamais vues à l’apprentissage : {normal} normales, {pneumonia} avec pneumonie. Intervalles à 95 %, par bootstrap sur les enfants.",
    perfNone: "Ce détecteur n’a pas été mesuré sur le test officiel. Sensibilité et spécificité au réglage, sur des radiographies de validation :",
    "perfNone.own": "Sensibilité et spécificité au réglage, sur des radiographies de validation :",
    perfSite: "Adapté à un site, et mesuré là-bas par validation croisée imbriquée sur {films} images de {patients} patients, chacune prédite sans les images de son patient. Intervalles à 95 %, par bootstrap sur les patients.",
    patientsUnknown: "Le patient de certaines images n’est pas connu ; chacune compte comme un patient. Si plusieurs sont d’un même patient, ces chiffres sont trop bons.",
    decidedOnly: "Sensibilité et spécificité sont celles des images avec une décision, {share} de toutes ; les autres sont à relire.",
    moreFilms: "Plus d’images aideraient-elles ?", warning: "Attention :",
    accuracy: "Exactitude", sensitivity: "Sensibilité", specificity: "Spécificité", auc: "Aire sous la courbe",
    threeClass: "Normal, bactérienne, virale", ece: "Erreur de calibration",
    moveTitle: "Déplacer le point de fonctionnement", moveThreshold: "Pneumonie à partir de cette probabilité",
    movePrevalence: "Sur 100 enfants, tant ont une pneumonie",
    ppv: "S’il dit pneumonie, il a raison (VPP)", npv: "S’il dit normal, il a raison (VPN)",
    thousand: "Sur 1 000 enfants, {ill} ont une pneumonie : {found} sont trouvés, {missed} manqués. Des {well} autres, {alarm} sont alarmés pour rien.",
    matrixTitle: "Test, si chaque radiographie était décidée", isPneumonia: "a une pneumonie", isNormal: "est normal", saysPneumonia: "dit pneumonie", saysNormal: "dit normal",
    rocTitle: "Courbe ROC", calibrationTitle: "Calibration",
    calibrationText: "Parmi les images ayant reçu une probabilité, tant avaient une pneumonie. Sur la diagonale, il tient parole.",
    falseAlarms: "fausses alarmes, %", foundShare: "pneumonies trouvées, %", givenProbability: "probabilité donnée, %", had: "avaient une pneumonie, %",
    besideTitle: "À côté des réseaux de l’étude", besideText: "Sur les mêmes images du test ; les réseaux de l’étude répétés ici, moyenne de {seeds} apprentissages ± écart type. Deux classes : normal ou pneumonie.",
    network: "Réseau",
    shift: "Mesuré sur les images d’un seul hôpital. Sur celles d’un autre, d’autres appareils, d’autres âges, il sera sans doute moins bon, et personne n’a mesuré de combien.",
    "shift.own": "Sur les images d’un autre site, d’autres appareils, d’autres âges, il sera sans doute moins bon, et personne n’a mesuré de combien.",
    watchTitle: "Les images ont-elles changé ?",
    watchLead: "Les {images} dernières images (dont {rejected} rejetées) à côté de celles du réglage. Ce qui change ici dit que les chiffres mesurés là-bas ne valent peut-être plus ; davantage d’enfants malades change aussi la première ligne.",
    "watchLead.own": "Les {images} dernières images (dont {rejected} rejetées) à côté de celles du réglage. Ce qui change ici dit que les chiffres mesurés là-bas ne valent peut-être plus ; davantage de cas de pneumonie changent aussi la première ligne.",
    watchNone: "Ce modèle n’a pas gardé de référence.", statistic: "Statistique", index: "Indice", byChance: "par hasard", verdict: "Verdict", lastFilms: "dernières images (barres), référence (ligne)",
    "stat.probability": "probabilité de pneumonie", "stat.brightness": "luminosité", "stat.contrast": "contraste",
    "stat.similarity": "ressemblance au thorax moyen", "stat.distance": "distance aux thorax",
    too_few: "trop peu pour le dire", steady: "stable", moved: "a bougé", drifted: "a dérivé",
    historyTitle: "Ce qui a été décidé", historyOff: "Rien n’est conservé : le service a été lancé sans --history FICHIER.",
    search: "Chercher noms et empreintes", searchGo: "Chercher", deleteAll: "Tout supprimer", deleteOne: "Supprimer", time: "Heure (UTC)", really: "Supprimer tout ce qui a été conservé ?", reallyOne: "Supprimer cette décision ?", more: "Suite", historyEmpty: "Rien trouvé.",
    aboutTitle: "À propos de ce détecteur, et ses limites", "aboutTitle.own": "À propos de ce détecteur", detector: "Détecteur", fittedOn: "Points de fonctionnement d’après", licence: "Licence", citation: "Données", identity: "Modèle (SHA-256)", notForTitle: "Pas pour",
    notFor: ["Le diagnostic, le traitement, le tri de patients.", "Les adultes, les enfants plus âgés, les nouveau-nés ; les vues de profil ; d’autres parties du corps ; TDM et IRM.", "Distinguer pneumonie bactérienne et virale : ce qu’il en dit est un indice faible."],
    limitsTitle: "Limites",
    limits: ["Un hôpital, un pays, quelques appareils ; les images du test viennent des mêmes archives.", "Le filtre d’entrée rejette ce qui n’est pas un thorax de face, presque toujours. Un thorax d’un autre âge ou pays passe : les contours ne le disent pas.", "Les probabilités valent pour la prévalence réglée dans la liste de travail.", "La carte des indices montre, grossièrement, d’où vient la réponse. Elle ne montre pas que la réponse est juste.", "Certaines étiquettes d’apprentissage sont fausses ; on ne sait pas combien."],
    privacyTitle: "Ce que devient une image",
    privacy: ["Elle va de ce navigateur à ce service, est analysée en mémoire, puis oubliée.", "Le journal contient identifiants, empreintes et décisions, jamais de noms ni d’images. Avec --history, décisions et noms de fichiers sont conservés jusqu’à leur suppression.", "Les images étiquetées envoyées pour adapter le service y restent jusqu’à la fin de ce travail.", "La page ne charge rien d’ailleurs."],
    labels: "Étiquettes", label: "Étiquette", labelGroup: "Étiquette de la radiographie choisie", labelHint: "N et P étiquettent la radiographie choisie, selon les deux champs ; la même touche, ou U, retire l’étiquette.",
    negativeName: "Classe négative (N)", positiveName: "Classe positive (P)", exportLabels: "Exporter les étiquettes", unlabelled: "sans étiquette",
    labelled: "Étiquette de {name} : {label}.", labelRemoved: "Plus d’étiquette sur {name}.", labelOf: "étiquette :", toAdapt: "Adapter à ce site …",
    namesWrong: "Il faut deux noms différents, de lettres, chiffres et espaces ; les deux noms habituels ne vont qu’ensemble.",
    twoLabels: "{files} : la même image avec deux étiquettes. Corrigez l’une d’elles.", forgetLabels: "Retirer toutes les radiographies de la liste et oublier leurs étiquettes ?", forgetFilms: "Retirer toutes les radiographies de la liste ?", retry: "Réessayer", evidenceLoading: "Calcul des indices …", evidenceFailed: "Pas d’indices : {why}", evidenceFor: "pour pneumonie", evidenceAgainst: "pour normal", referBand: "à relire de {from} à {to}",
    key_label: "étiquette négative, positive ; aucune", detectorInUse: "Détecteur : {name} {version}.",
    bundleChanged: "Le service prédit maintenant avec {name} {version} ; les radiographies sont analysées à nouveau.",
    accepts: "Pour ces motifs, ce service ne donne aucune radiographie à relire :", acceptsNone: "Les radiographies différentes de celles de sa validation sont à relire.",
    adapt: "Adapter", adaptTitle: "Adapter à ce site",
    adaptLead: "À partir des radiographies étiquetées dans la liste de travail, le service fait un détecteur propre à ce site : recalibré, ou avec une nouvelle dernière couche, le plus simple des deux à qualité égale. Chaque image est prédite sans celles de son patient, ce qui montre ce que vaut ici le nouveau détecteur. S’il ne fait pas mieux que le hasard, aucun n’est fait.",
    adaptNeeds: "Il faut au moins {fewest} images de chaque classe, de cinq patients chacune ; quelques centaines valent mieux. Les images étiquetées sont envoyées au service, y restent jusqu’à la fin du travail, puis sont supprimées.",
    adaptOff: "Le service a été lancé sans --adaptations DOSSIER : il n’adapte pas. Les étiquettes s’exportent dans la liste de travail, pour pneumoscope adapt --data.",
    adaptLabels: "Étiquetées dans la liste de travail", adaptName: "Nom du nouveau détecteur", adaptStart: "Commencer", adaptTooFew: "Encore {missing} à étiqueter : {parts}.",
    sending: "Images envoyées : {done} sur {all}", "stage.": "Démarrage …", "stage.images_described": "Images décrites", "stage.candidates_cross-validated": "Validation croisée", "stage.folds_cross-validated": "Validation croisée",
    "stage.repeats_of_the_learning_curve": "Plus d’images aideraient-elles ?", ofParts: "{done} sur {all}", cancel: "Annuler", adaptRunning: "En cours", collecting: "Le service attend les images qu’une autre page envoie.",
    adaptResults: "Adaptations", adaptNone: "Aucune pour le moment.", adaptedTo: "{films} images de {patients} patients, {began}",
    made: "{method} : AUC {auc} ({low} – {high}) par validation croisée.", notMade: "Pas mieux que le hasard : aucun détecteur n’a été fait. AUC {auc} ({low} – {high}) par validation croisée.",
    failedAdaptation: "Aucun détecteur n’a été fait. Le service dit :", "method.calibrate": "Le détecteur, recalibré", "method.linear": "Une nouvelle dernière couche", "method.fine-tune": "Toutes les couches réapprises",
    beforeAdapting: "Le détecteur d’avant, sur les mêmes images : AUC {auc} ({low} – {high}).", report: "Rapport", useIt: "Utiliser ce détecteur", useOriginal: "Revenir à l’original", inUse: "utilisé", download: "Télécharger",
    switching: "Démarrage de ses processus …", original: "le détecteur propre au service", deleteAdaptation: "Supprimer cette adaptation et son détecteur ?",
    helpYes: "Plus d’images aideraient : de {first} à {last} images, l’AUC a changé de {gain}.", helpNo: "Plus d’images n’aideraient guère cette méthode : de {first} à {last} images, l’AUC a changé de {gain}.", helpUnknown: "Trop peu d’images pour le dire.",
    filesTell: "L’étiquette se prédit sans le poumon : {alone}fichiers, appareils et expositions ensemble {together}. Le nouveau détecteur l’a peut-être appris ; {alike}. Recueillez les deux classes sur les mêmes appareils, sous les mêmes incidences, enregistrées de même.",
    filesTellAlone: "{property} seule donne une AUC de {auc}, ", amongAlike: "parmi les radiographies enregistrées et exposées de même, son AUC est {auc} ({low} – {high})", fewAlike: "les radiographies des deux classes enregistrées de même sont trop peu nombreuses pour le dire",
    filmTooLarge: "{name} fait {size} ; le service accepte au plus {limit} par radiographie. Retirez son étiquette.",
    tooMuchToAdapt: "{found} radiographies étiquetées, {size} ; le service en accepte au plus {images}, de {limit}. Retirez quelques étiquettes.",
    "property.width": "la largeur", "property.height": "la hauteur", "property.aspect ratio": "la forme", "property.bytes per pixel": "la compression", "property.JPEG quantisation": "la quantification JPEG",
    "property.sharpness": "la netteté", "property.contrast": "la valeur du contraste", "property.brightness": "la luminosité", "property.age": "la donnée de l’âge", "property.sex": "la donnée du sexe", "property.view": "l’incidence",
    "problem.adaptation_conflict": "Une autre adaptation est en cours, il y en a trop, ou celle-ci est utilisée ou terminée.", "problem.adaptation_full": "Le service n’a plus de place pour les images d’une adaptation.",
    "citation.own": "Données du détecteur d’avant",
    moreTitle: "Pour les programmes", moreText: "Le même service comme interface HTTP : ", unknown: "–",
    // Quelle fiabilité ?
    detectorNamed: "Détecteur {name}", "network.cnn_2_classes": "CNN, 2 classes", "network.cnn_3_classes": "CNN, 3 classes", "network.inception_v3": "Inception V3", "network.stacked_cnn": "CNN_1", "network.stacked_cnn_thawed": "CNN_1, base réapprise",
    tilesLead: "Sur ces radiographies du test, au point de fonctionnement équilibré ; une radiographie à relire compte selon le côté du seuil où elle se trouve.",
    moveLead: "Sensibilité et spécificité tiennent au point de fonctionnement, quelle que soit la prévalence. La fréquence à laquelle il a raison (VPP, VPN) dépend aussi de la fréquence des pneumonies : déplacez les deux.",
    matrixText: "À ce seuil, {films} radiographies du test ; une radiographie à relire compte selon le côté du seuil où elle se trouve.",
    referTitle: "Les mêmes, les cas douteux étant à relire", referBetween: "Ce qui est à relire a été mesuré aux points de fonctionnement de la liste de travail : choisissez-en un ci-dessus.",
    referText: "Comme décide la liste de travail : près du seuil, ou trop différente de celles de la validation, une radiographie ne reçoit pas de décision. Une personne la lit.",
    referredFilms: "À relire", decidedRight: "Décisions justes", sensitivityDecided: "Sensibilité parmi les décisions", specificityDecided: "Spécificité parmi les décisions",
    nearThreshold: "à relire : près du seuil", unlikeValidated: "à relire : différente de la validation", referBalanced: "Effectifs, sensibilité et spécificité parmi les seules décisions ont été relevés au point de fonctionnement équilibré.",
    bothTitle: "Au réglage, et à la mesure", validationFilms: "Radiographies de validation :", bothText: "Les mêmes points de fonctionnement sur deux ensembles. Ils ont été réglés sur des radiographies de validation. Celles du test officiel n’y ont eu aucune part et viennent d’autres patients ; les chiffres d’un ensemble ne sont pas ceux de l’autre.",
    asFitted: "au réglage, validation", asMeasured: "mesurée, test", sensitivityOn: "Sensibilité {films}", specificityOn: "Spécificité {films}", referredOn: "Part à relire {films}",
    "fitted.folds": "{images} radiographies d’apprentissage, chacune prédite par un réseau qui ne l’avait pas apprise ({folds} parties qui séparent les appareils) ; pneumonies bactériennes et virales comptent autant.",
    "fitted.validation": "{images} radiographies mises à part de l’apprentissage.", "fitted.site": "{images} radiographies de {origin}, chacune prédite sans celles de son patient.",
    // À propos
    "use.shipped": "La recherche sur les radiographies thoraciques de face d’enfants de 1 à 5 ans : normal ou pneumonie ; pour une pneumonie, l’origine bactérienne ou virale comme indice faible. Pas pour les adultes, les profils, d’autres parties du corps, TDM ou IRM, ni pour décider d’un traitement.",
    "use.images": "La recherche sur des radiographies comme les {images} de {origin} dont il est issu : {classes}. Ce qu’il vaut ailleurs n’est pas connu. Pas pour décider d’un traitement.",
    "licence.shipped": "Apache-2.0 ; appris sur des images sous CC BY 4.0", "licence.site": "Apache-2.0 ; appris sur des images sous CC BY 4.0 ; adapté à des images de {origin}", "licence.none": "non précisée", detectorPart: "Le détecteur", usePart: "À quoi il sert",
    // Ce qu’une prédiction dit d’une image
    chanceIs: "probabilité de pneumonie : {value}", meterSaid: "probabilité de pneumonie {value} ; {threshold} ; {band}", "detail.modality": "L’en-tête indique la modalité {found} ; il est fait pour des radiographies par projection.", "detail.bodyPart": "L’en-tête indique la partie du corps {found} ; il est fait pour le thorax.",
    "detail.view": "L’en-tête indique l’incidence {found} ; il a été validé sur {expected}.", "detail.noAge": "L’en-tête ne donne pas d’âge : on ne sait pas si le patient a de {youngest} à {oldest} ans.", "detail.age": "L’en-tête donne un âge de {found} ans ; il a été validé sur des patients de {youngest} à {oldest} ans.",
    "detail.tooSmall": "Elle a {width} × {height} pixels ; il en faut au moins {least} par côté.", "detail.outside": "Ce qui a été mesuré du détecteur ne dit rien de cette radiographie.",
    "detail.unreadable": "{file} n’est pas une image JPEG, PNG ou DICOM entière : remplacez ce fichier.", "detail.unsupported": "{file} n’est pas une seule image en niveaux de gris : exportez-la ainsi.",
    // Surveillance
    whatToDo: "Que faire", "all.steady": "Les radiographies ressemblent à celles du réglage.", "all.moved": "Une partie de ce qui est surveillé a bougé : {names}.", "all.drifted": "Les radiographies se sont éloignées de celles du réglage : {names}.", "all.too_few": "Trop peu de radiographies pour le dire : il en faut {fewest}.",
    "do.steady": "Rien.", "do.too_few": "Attendre d’autres radiographies.", "do.probability": "Lisez vous-même un échantillon des dernières et comparez : plus de cas de pneumonie, ou des décisions fausses ?", "do.brightness": "Vérifiez l’exposition et les réglages d’export de l’appareil.", "do.contrast": "Vérifiez l’exposition et les réglages d’export de l’appareil.",
    "do.similarity": "Regardez les dernières : autre incidence, position ou âge ?", "do.distance": "Regardez les dernières : autre appareil, âge ou partie du corps ?", "do.rejected": "Regardez ci-dessous les radiographies rejetées et leurs motifs.", "do.drifted": "Tant que ce n’est pas expliqué, lisez tout vous-même ; si cela dure, adaptez le détecteur à ce site.",
    rejectedName: "part des radiographies rejetées", rejectedNow: "{share} ({low} – {high}) ; dans la référence {reference}", timelineTitle: "Les décisions au fil du temps", byDay: "Par jour", byHour: "Par heure", "none.day": "Rien n’a été décidé ces {periods} derniers jours.", "none.hour": "Rien n’a été décidé ces {periods} dernières heures.",
    timelineSaid: "{films} radiographies ; à relire {referred}, rejetées {rejected}.", filmsAxis: "radiographies", shareAxis: "part sans décision", otherClasses: "autres classes", asTable: "En tableau", period: "Période (UTC)", referredShare: "à relire, part", rejectedPart: "rejetées, part",
    bannerDrift: "Les radiographies ont changé depuis le réglage du détecteur ({names}) ; ses chiffres ne valent peut-être plus.", bannerGo: "Voir que faire",
    // Liste de travail
    prevalenceWhat: "Que change la prévalence ?", prevalenceText: "C’est la part de pneumonies parmi les radiographies que vous lisez. Les probabilités affichées la suivent, et le seuil aussi : les décisions restent les mêmes.",
    // Problèmes, par le code du service
    "problem.invalid_request": "Le service ne peut pas utiliser cette demande : une valeur manque ou est hors limites.", "problem.unknown_parameter": "Le service ne connaît pas un paramètre de cette demande.", "problem.unknown_operating_point": "Le détecteur n’a pas ce point de fonctionnement.",
    "problem.unsupported_media_type": "Le service n’accepte pas ce genre de fichier.", "problem.too_large": "Le fichier est plus grand que ce que le service accepte.", "problem.too_many_images": "Plus de fichiers à la fois que ce que le service accepte.", "problem.upload_timeout": "Le fichier n’est pas arrivé à temps : vérifiez la connexion et réessayez.",
    "problem.unreadable": "Ce fichier ne contient pas de radiographie à montrer.", "problem.stopping": "Le service s’arrête.", "problem.unknown_host": "Le service n’est pas connu sous cette adresse.", "problem.cross_origin": "Le service refuse les demandes d’autres pages web.", "problem.not_found": "Ceci n’existe plus.",
    "problem.method_not_allowed": "Le service ne peut pas faire cela ici.", "problem.bad_request": "Le service n’a pas compris la demande.", "problem.history_unavailable": "L’historique n’est pas utilisable maintenant ; réessayez bientôt.", "problem.internal": "Le service a échoué. Son journal dit pourquoi.",
    "problem.unauthorised": "Une clé est nécessaire.", "problem.busy": "Le service a trop à faire : réessayez bientôt.", "problem.history_off": "Rien n’est conservé ici.", "problem.films_off": "Aucune image n’est conservée ici.", "problem.adaptations_off": "Le service n’adapte pas.",
  },
};

// French sets a space that does not break before these marks, and between thousands.
const spaced = (word) => (Array.isArray(word) ? word.map(spaced) : word.replace(/ (?=[:»%])/g, "\u00a0").replace(/ (?=[;?!])|(?<=\d) (?=\d{3})/g, "\u202f"));
for (const [name, word] of Object.entries(WORDS.fr)) WORDS.fr[name] = spaced(word);

const kept = localStorage.getItem("language");
let language = kept && WORDS[kept] ? kept : navigator.language.toLowerCase().startsWith("fr") ? "fr" : "en";

export const currentLanguage = () => language;
export const allWords = WORDS;

// Names of the negative and the positive class where they are a site's own; null for normal and pneumonia.
export let ownClasses = null;
// Whether the bundle is a site's: adapted to it, or with class names of its own. What is true of the detectors that ship is not true of it.
export let ofSite = false;

export function useBundle({ classes, parent, metrics }) {
  ownClasses = classes.length === 2 && classes.join() !== "normal,pneumonia" ? classes : null;
  ofSite = Boolean(ownClasses || parent || metrics?.site);
}

// Holes are filled, and normal and pneumonia get the names of a site's own classes.
export function t(name, values = {}) {
  const word = (ofSite ? WORDS[language][`${name}.own`] : null) ?? WORDS[language][name] ?? name;
  if (typeof word !== "string") return word;
  return word.replace(/\{(\w+)\}|\b(?:(normal)e?s?|pneumoni[ae]s?)\b/gi, (found, key, negative) =>
    key ? values[key] ?? "" : ownClasses ? ownClasses[negative ? 0 : 1] : found);
}

// The decision on record, which may be of a bundle with other classes than the present one.
export const decisionWord = ({ decision, outcome }) => (outcome === decision ? WORDS[language][decision] : outcome);

// Formats are made once: to make one takes much longer than to use it.
const formats = new Map();
function formatted(value, style, digits) {
  const key = `${language} ${style} ${digits}`;
  if (!formats.has(key)) formats.set(key, new Intl.NumberFormat(language, { style, minimumFractionDigits: digits, maximumFractionDigits: digits }));
  return formats.get(key).format(value);
}

export const percent = (share, digits = 1) => formatted(share, "percent", digits);
export const decimal = (value, digits) => formatted(value, "decimal", digits);
export const bytes = (value) =>
  new Intl.NumberFormat(language, { style: "unit", unit: "megabyte", maximumSignificantDigits: 3 }).format(value / 2 ** 20);
export const count = (value) => formatted(value, "decimal", 0);

// Time as the service has it, in UTC.
export const dateTime = (time, style) =>
  new Intl.DateTimeFormat(language === "en" ? "en-GB" : language, { timeZone: "UTC", ...style }).format(new Date(time));

// Words of the static page; what is drawn by scripts asks for its words when it is drawn.
export function useLanguage(next) {
  language = next;
  localStorage.setItem("language", next);
  document.documentElement.lang = next;
  for (const node of document.querySelectorAll("[data-word]")) node.textContent = t(node.dataset.word);
  for (const node of document.querySelectorAll("[data-label]")) node.setAttribute("aria-label", t(node.dataset.label));
  for (const node of document.querySelectorAll("[data-hint]")) node.title = t(node.dataset.hint);
}
