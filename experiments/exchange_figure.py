#!/usr/bin/env python3
"""A normal radiograph and a pneumonia, each with one property of the other: what the stress test shows to a model; draws a figure.

    experiments/exchange_figure.py [--normal 5] [--pneumonia 3]

Both are held-out images of the training set, by their number within the class.
"""

import argparse
from pathlib import Path

from pneumoscope import paths
from pneumoscope.config import Preprocessing, SplitConfig
from pneumoscope.data.dataset import load_dataset
from pneumoscope.data.locate import locate
from pneumoscope.reporting.style import CLASS_COLOURS, bare, drawing, png_of, save_png
from pneumoscope.stress import read_radiographs
from pneumoscope.stress.transplants import TRANSPLANTS
from pneumoscope.types import Split

CLASSES = ("normal", "pneumonia")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, number in zip(CLASSES, (5, 3), strict=True):
        parser.add_argument(f"--{name}", type=int, default=number)
    parser.add_argument("--figure", type=Path, default=Path("docs/figures/exchanges.png"))
    options = parser.parse_args()
    dataset = load_dataset(locate(None), Preprocessing(), SplitConfig(), paths.images_directory())
    held_out = [dataset.index.rows[i].path for i in dataset.positions(Split.VALIDATION)]
    radiographs = read_radiographs(locate(None).open().only(held_out), None)
    own = [
        radiographs[int((radiographs.positive == (name == CLASSES[1])).nonzero()[0][getattr(options, name)])]
        for name in CLASSES
    ]
    with drawing(15, 4.7, False) as figure:
        rows = figure.subplots(2, 1 + len(TRANSPLANTS))
        for axes, name, radiograph, donor in zip(rows, CLASSES, own, own[::-1], strict=True):
            shown = {"unaltered": radiograph.image} | {
                what: alter(radiograph, donor) for what, alter in TRANSPLANTS.items()
            }
            for place, (what, image) in zip(axes, shown.items(), strict=True):
                bare(place)
                place.imshow(image, cmap="gray", vmin=0, vmax=255)
                if name == CLASSES[0]:
                    place.set_title(what, fontsize=11)
            axes[0].set_ylabel(
                name, color=CLASS_COLOURS["bacterial" if name == CLASSES[1] else "normal"], weight="bold"
            )
    save_png(png_of(figure), options.figure)


if __name__ == "__main__":
    main()
