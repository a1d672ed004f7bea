"""Films of a split with their labels and patients, and the detectors that read them: what several experiments share."""

from dataclasses import dataclass

import numpy as np

from pneumoscope.assessment.ledger import USUAL_LEDGER, append_to_ledger
from pneumoscope.config import SplitConfig
from pneumoscope.data.index import build_index
from pneumoscope.data.locate import locate
from pneumoscope.data.sources import open_source
from pneumoscope.data.split import draw_validation
from pneumoscope.evaluation.intervals import estimate_metrics
from pneumoscope.inference.detector import load_detector
from pneumoscope.provenance import commit
from pneumoscope.types import BINARY, Finding, Split

# Detectors of a process of a pool, by name.
DETECTORS = {}
SHOWN = ("auc", "accuracy", "sensitivity", "specificity")


def start(names):
    """Loads the detectors of a process."""
    DETECTORS.update({name: load_detector(name, threads=1) for name in names})


@dataclass(frozen=True)
class Films:
    """Films (height, width) uint8, whether each shows pneumonia, and its patient."""

    images: list
    pneumonia: np.ndarray
    patients: list


def films_of(split, names, why, largest=None):
    """Films of a split, or a random part of `largest` of them; a look at the test films has its line in the ledger."""
    source = open_source(locate(None).root)
    index = build_index(source)
    drawn_split = draw_validation(index, SplitConfig().seed)
    rows = [index.rows[i] for i in drawn_split.positions(split)]
    if largest is not None:
        drawn = np.random.default_rng(2026).permutation(len(rows))[:largest]
        rows = [rows[i] for i in sorted(drawn)]
    images = [source.read(row.path) for row in rows]
    if split is Split.TEST:
        facts = {"commit": commit(), "model": ", ".join(names), "split_hash": drawn_split.hash, "films": len(rows)}
        append_to_ledger(USUAL_LEDGER, **facts, why=why, result={})
    pneumonia = np.array([row.finding is Finding.PNEUMONIA for row in rows])
    return Films(images, pneumonia, [row.patient for row in rows])


def figures_at_threshold(name, probability, pneumonia, patients):
    """AUC, accuracy, sensitivity and specificity at a detector's balanced threshold, with intervals over patients."""
    threshold = load_detector(name).bundle.manifest.operating_point("balanced").threshold
    both = np.stack([1 - probability, probability], axis=1)
    found = estimate_metrics(both, pneumonia.astype(int), patients, BINARY.names, threshold=threshold)
    return {key: vars(found[key]) for key in SHOWN}


def in_short(figures):
    """Values of figures without their intervals."""
    return {key: round(each["value"], 3) for key, each in figures.items()}
