"""Up to twelve validation films with the evidence of a shipped detector, half of them its mistakes where it makes six; draws a figure.

    .venv/bin/python experiments/evidence_figure.py [--bundle default]

Films of the tenth that watched the training. Wrong are those of either class furthest on the wrong side of the balanced threshold; right
are the first of their class that are, two of each. Under a film: its label, the probability of pneumonia, the zones that hold
most of the evidence for it.
"""

import argparse
from pathlib import Path

import numpy as np

from pneumoscope import paths
from pneumoscope.config import Preprocessing, SplitConfig
from pneumoscope.data.dataset import load_dataset
from pneumoscope.data.locate import locate
from pneumoscope.inference.detector import load_detector
from pneumoscope.inference.overlay import overlay
from pneumoscope.inference.zones import zones_in_words
from pneumoscope.reporting.style import CLASS_COLOURS, bare, drawing, png_of, save_png
from pneumoscope.types import THREE_CLASS, Split

ROWS, COLUMNS, WRONG = 3, 4, 6


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="default")
    parser.add_argument("--figure", type=Path, default=Path("docs/figures/evidence.png"))
    options = parser.parse_args()
    detector = load_detector(options.bundle)
    dataset = load_dataset(locate(None).root, Preprocessing(), SplitConfig(), paths.images_directory())
    watched = dataset.positions(Split.VALIDATION)
    label = dataset.labels(THREE_CLASS, watched)
    found = list(detector.predict_many([dataset.images[i] for i in watched], evidence=True))
    probability = np.array([each.pneumonia_probability for each in found])
    threshold = detector.bundle.manifest.operating_point("balanced").threshold
    right = (probability >= threshold) == (label > 0)
    chosen = [i for kind in range(3) for i in np.flatnonzero(right & (label == kind))[:2]]
    alarms = sorted(np.flatnonzero(~right & (label == 0)), key=lambda i: -probability[i])[:3]
    missed = sorted(np.flatnonzero(~right & (label > 0)), key=lambda i: probability[i])
    chosen += missed[: WRONG - len(alarms)] + alarms
    with drawing(12.5, 10.5, False) as figure:
        every = figure.subplots(ROWS, COLUMNS).ravel()
        for axes in every:
            bare(axes)
        # A detector that makes fewer mistakes leaves the last places empty.
        for axes, i in zip(every, chosen, strict=False):
            axes.imshow(overlay(dataset.images[i], found[i].evidence_map, found[i].frame))
            name = THREE_CLASS.names[label[i]]
            mark = "" if right[i] else ", wrong"
            axes.set_title(f"{name}: {100 * probability[i]:.0f} %{mark}", color=CLASS_COLOURS[name], fontsize=10)
            words = zones_in_words(found[i].zones) if found[i].zones else "not placed"
            axes.set_xlabel(words, fontsize=8, wrap=True)
    save_png(png_of(figure), options.figure)


if __name__ == "__main__":
    main()
