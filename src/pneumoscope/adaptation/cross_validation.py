"""Choice among candidates and their honest performance: nested cross-validation grouped by patient.

    outer folds   predictions for held-out patients by whatever the images of the other patients choose
    inner folds   choice among the candidates, calibration, operating points

With a single candidate nothing is chosen: its out-of-fold logits are calibrated by those of the other folds.

Choice: the first, simplest candidate whose mean AUC over the inner folds is at most one standard error below the best mean.

Source: Breiman, Friedman, Olshen and Stone, Classification and Regression Trees, 1984, section 3.4.3 (one standard error); Varma and
Simon, BMC Bioinformatics 2006, doi 10.1186/1471-2105-7-91 (nested cross-validation).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pneumoscope.adaptation.methods import Method
from pneumoscope.adaptation.site import SiteImages
from pneumoscope.config import DetectorConfig
from pneumoscope.decision import DecisionPolicy, decide, pneumonia_probability, softmax
from pneumoscope.errors import DataError
from pneumoscope.evaluation.intervals import patient_numbers
from pneumoscope.evaluation.metrics import Floats, Ints, roc_auc
from pneumoscope.evaluation.policy_fitting import FittedPolicy, fit_policy

OUTER_FOLDS, INNER_FOLDS = 5, 4
# Divisions of the patients that are tried until each fold has images of both classes.
_ATTEMPTS = 20


@dataclass(frozen=True)
class Candidate:
    """Candidate with its performance on held-out folds.

    Attributes:
        method: Method of adaptation.
        number: Position among the method's candidates.
        auc: (folds,) area under the ROC curve of each fold, in [0, 1].
        logit: (n, classes) out-of-fold logits.
        fold: (n,) int, fold in which each image was held out.
    """

    method: Method
    number: int
    auc: Floats
    logit: Floats
    fold: Ints

    @property
    def description(self) -> str:
        """Description in words."""
        return self.method.candidates[self.number]

    def logits(self, images: SiteImages, train: Ints, test: Ints) -> Floats:
        """(m, classes) logits for the images `test` by the candidate, fitted to the images `train`."""
        return self.method.only(self.number).logits(images, train, test)[0]

    @property
    def mean(self) -> float:
        """Mean AUC over the folds."""
        return float(self.auc.mean())

    @property
    def standard_error(self) -> float:
        """Standard error of the mean AUC."""
        return float(self.auc.std(ddof=1) / np.sqrt(len(self.auc)))


@dataclass(frozen=True)
class NestedPredictions:
    """Predictions for images by what was chosen and fitted without their patients.

    Attributes:
        probability: (n,) calibrated probability of the positive class.
        decision: (n,) decisions at the balanced operating point.
        fold: (n,) int, outer fold in which each image was held out.
        chosen: Description of the candidate that each outer fold chose; empty where there was one candidate.
    """

    probability: Floats
    decision: tuple[str, ...]
    fold: Ints
    chosen: tuple[str, ...]


def grouped_folds(label: Ints, patients: Sequence[str], folds: int, seed: int = 0) -> Ints:
    """Fold of each image: images of one patient in one fold, the classes spread evenly over the folds.

    Args:
        label: (n,) int, 0 for the negative class.
        patients: (n,) patient of each image.
        folds: Number of folds; fewer are made where so many cannot have images of both classes each.
        seed: Seed of what falls by chance.

    Returns:
        (n,) int, the folds from 0 on.

    Raises:
        DataError: Not even two folds can have images of both classes.
    """
    patient = patient_numbers(patients)
    people, classes = int(patient.max()) + 1, np.unique(label)
    counts = np.stack([np.bincount(patient, label == each, people) for each in classes], axis=1).astype(float)
    for number in range(folds, 1, -1):
        for attempt in range(_ATTEMPTS):
            fold = _even_folds(counts, number, np.random.default_rng((seed, attempt)))[patient]
            if _complete(fold, label, number):
                return fold
    raise DataError(
        f"expected images of both classes of different patients, found {people} patients with {len(label)} images that "
        "cannot be divided so that each part has both classes: add patients"
    )


def _complete(fold: Ints, label: Ints, folds: int) -> bool:
    """Whether each fold has images of both classes, and all others together have images of every class."""
    classes = len(np.unique(label))
    return all(
        len(np.unique(label[fold == each] > 0)) == 2 and len(np.unique(label[fold != each])) == classes
        for each in range(folds)
    )


def _even_folds(counts: Floats, folds: int, rng: np.random.Generator) -> Ints:
    """(patients,) int, folds of patients by their (patients, classes) numbers of images.

    Patients with the most images first, each goes to the fold where it leaves the classes least uneven; ties fall by chance.
    """
    fractions = counts / np.maximum(counts.sum(axis=0), 1)
    order = rng.permutation(len(counts))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    filled, fold_of = np.zeros((folds, counts.shape[1])), np.zeros(len(counts), dtype=np.int64)
    for each in order:
        # Adding to a fold raises the sum of squares by this much; the least rise is the most even.
        rise = (filled * fractions[each]).sum(axis=1)
        fold_of[each] = np.lexsort((filled.sum(axis=1), rise))[0]
        filled[fold_of[each]] += fractions[each]
    return fold_of


def cross_validate(images: SiteImages, methods: Sequence[Method], rows: Ints, folds: int) -> list[Candidate]:
    """Candidates of methods, simplest first, with their out-of-fold logits for some images, (k,) int positions."""
    positive = images.positive[rows]
    fold = grouped_folds(images.label[rows], [images.patients[i] for i in rows], folds)
    every = range(int(fold.max()) + 1)
    candidates = []
    for method in methods:
        parts = [method.logits(images, rows[fold != each], rows[fold == each]) for each in every]
        for number in range(len(method.candidates)):
            logit = np.zeros((len(rows), len(method.scheme)))
            auc = []
            for each in every:
                logit[fold == each] = parts[each][number]
                auc.append(roc_auc(positive_probability(parts[each][number]), positive[fold == each]))
            candidates.append(Candidate(method, number, np.array(auc), logit, fold))
    return candidates


def positive_probability(logit: Floats) -> Floats:
    """(n,) probability of the positive class of (n, classes) logits."""
    return pneumonia_probability(softmax(logit))


def choose(candidates: Sequence[Candidate]) -> Candidate:
    """Simplest candidate within one standard error of the best; candidates come simplest first."""
    best = max(candidates, key=lambda candidate: candidate.mean)
    return next(each for each in candidates if each.mean >= best.mean - best.standard_error)


def fit_candidate_policy(
    candidate: Candidate, images: SiteImages, rows: Ints, settings: DetectorConfig
) -> FittedPolicy:
    """Decision policy fitted to a candidate's out-of-fold logits for some images."""
    label = candidate.method.labels(images)[rows]
    return fit_policy(candidate.logit, label, settings, etiologies=candidate.method.etiologies)


def nested_predictions(
    images: SiteImages,
    candidates: Sequence[Candidate],
    settings: DetectorConfig,
    progress: Callable[[int, int], None],
) -> NestedPredictions:
    """Predictions for every image by nested cross-validation.

    Args:
        images: Images of the site.
        candidates: All candidates, cross-validated over all images.
        settings: Targets of the operating points.
        progress: Callback with the number of outer folds done and their total.
    """
    methods = list(dict.fromkeys(each.method for each in candidates))
    single = candidates[0] if len(candidates) == 1 else None
    fold = single.fold if single else grouped_folds(images.label, images.patients, OUTER_FOLDS, seed=1)
    folds = int(fold.max()) + 1
    probability, decision = np.zeros(len(images)), np.full(len(images), "", dtype=object)
    chosen: list[str] = []
    for each in range(folds):
        train, test = np.flatnonzero(fold != each), np.flatnonzero(fold == each)
        if single:
            others = replace(single, logit=single.logit[train])
            candidate, logit = others, single.logit[test]
        else:
            candidate = choose(cross_validate(images, methods, train, INNER_FOLDS))
            logit = candidate.logits(images, train, test)
        policy = fit_candidate_policy(candidate, images, train, settings).policy
        probability[test], decision[test] = _decided(policy, logit)
        chosen += [] if single else [candidate.description]
        progress(each + 1, folds)
    return NestedPredictions(probability, tuple(map(str, decision)), fold, tuple(chosen))


def _decided(policy: DecisionPolicy, logit: Floats) -> tuple[Floats, list[str]]:
    probability = pneumonia_probability(policy.calibration.probabilities(logit))
    return probability, [each.value for each in decide(probability, policy.operating_points["balanced"])]
