"""Training images whose label networks doubt that never saw them: JSON and a figure of the first.

    .venv/bin/python experiments/doubted_labels.py runs/detector [--below 0.05] [--out results/detector/doubted_labels.json]

RUN is that of `pneumoscope train configs/...`: every training image was held out in one of its style folds. A doubted label
may be wrong, or the image hard, or the network mistaken; no label is changed by it, and no test image is looked at.
Source: confident learning, Northcutt et al., JAIR 2021, doi 10.1613/jair.1.12125.
"""

import argparse
from pathlib import Path

import numpy as np

from pneumoscope import paths
from pneumoscope.assessment.figures import draw_mistakes
from pneumoscope.bundle import load_bundle
from pneumoscope.config import Preprocessing, SplitConfig
from pneumoscope.data.dataset import load_dataset
from pneumoscope.data.locate import locate
from pneumoscope.decision import logits_of, pneumonia_probability
from pneumoscope.detector_training.stress_validation import load_stress_validation
from pneumoscope.evaluation.predictions import PredictionTable
from pneumoscope.files import write_json
from pneumoscope.provenance import provenance
from pneumoscope.reporting.style import png_of, save_png

SHOWN = 12


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--below", type=float, default=0.05, help="probability of what the label says")
    parser.add_argument("--figure", type=Path, default=Path("docs/figures/doubted-labels.png"))
    parser.add_argument("--out", type=Path, default=Path("results/detector/doubted_labels.json"))
    options = parser.parse_args()
    manifest = load_bundle(options.run / "bundle.zip").manifest
    folds = [load_stress_validation(fold / "hard-0.npz") for fold in folders(options.run)]
    positions, label, plain = (
        np.concatenate([getattr(f, n) for f in folds]) for n in ("positions", "label", "unchanged")
    )
    probability = manifest.calibration.probabilities(logits_of(plain))
    positive = pneumonia_probability(probability)
    agreed = np.where(label > 0, positive, 1 - positive)
    order = np.argsort(agreed, kind="stable")
    doubted = order[agreed[order] < options.below]
    dataset = load_dataset(locate(None).root, Preprocessing(), SplitConfig(), paths.images_directory())
    names = dataset.paths(positions)
    classes = manifest.classes
    record = {
        "below": options.below,
        "films": len(label),
        "doubted": [
            {
                "file": names[i],
                "label": classes[label[i]],
                "probability": {name: round(float(p), 4) for name, p in zip(classes, probability[i], strict=True)},
            }
            for i in doubted.tolist()
        ],
    }
    made = provenance("experiments/doubted_labels.py")
    write_json(options.out, record | made)
    print(f"{len(doubted)} of {len(label)} labels doubted: {np.bincount(label[doubted], minlength=len(classes))}")
    first = doubted[:SHOWN]
    table = PredictionTable(
        classes, tuple(names[i] for i in first), ("",) * len(first), label[first], probability[first], 0.5
    )
    images = dataset.images[positions[first]]
    title = "Training films whose label is doubted most"
    save_png(png_of(draw_mistakes(table, images, np.arange(len(first)), title, False)), options.figure)


def folders(run):
    return sorted((run / "folds").iterdir())


if __name__ == "__main__":
    main()
