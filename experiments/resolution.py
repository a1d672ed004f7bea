"""Does more resolution than that of the 224-pixel copies help? The same images from both, at several sizes of the network's input.

    .venv/bin/python experiments/resolution.py FOLDER [--sides 96,128,192] [--folds 0] [--seed 0]

FOLDER holds training images of the data set under their names, less reduced, such as 256 pixels on the short side with their aspect kept.
Only these take part, with the folds and acquisition clusters of the whole data set. Three sources:

    copy       the copies of 224 x 224 pixels
    reduced    the files of FOLDER, squashed to 224 x 224 pixels first, as the package prepares every image
    finer      the files of FOLDER, the chest frame taken from their own pixels

so that `finer` beside `reduced` is resolution, and `reduced` beside `copy` how the files were made. Chest frames have 320 pixels a side, to which
all are enlarged. Trained as `usual` of `experiments/methods.py`, with images that are not altered in the validation, since a stress
image has no more detail than the 224-pixel copy. The test images are out of reach here.
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from ablate import DIGITS, judge
from methods import recipe_of, train_by

from pneumoscope import paths
from pneumoscope.data.alignment import load_atlas, resample_frame
from pneumoscope.data.dataset import load_dataset
from pneumoscope.data.locate import locate
from pneumoscope.data.margins import fill_margins
from pneumoscope.data.preprocessing import chest_square, prepare
from pneumoscope.data.reading import read_image
from pneumoscope.detector_training.stress_validation import auc_within_clusters, run_stress_validation
from pneumoscope.files import write_json
from pneumoscope.provenance import provenance
from pneumoscope.training.allocator import keep_freed_memory
from pneumoscope.training.precision import resolve_precision
from pneumoscope.types import Split

SHOWN = ("within_unaltered_auc", "odd_auc", "viral_auc", "three_class")
SOURCES = ("copy", "reduced", "finer")
# Side of the chest frames in pixels: those of the finer files have up to about 290.
SIDE = 320


def main():
    keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sides", default="96,128,192")
    parser.add_argument("--sources", default=",".join(SOURCES))
    parser.add_argument("--folds", default="0")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results/detector/resolution.json"))
    options = parser.parse_args()
    location, made = locate(None), provenance("experiments/resolution.py")
    files = LessReducedFiles(options.folder)
    for side in map(int, options.sides.split(",")):
        settings = argparse.Namespace(side=side, epochs=options.epochs, seed=options.seed)
        for source in options.sources.split(","):
            told = []
            for fold in map(int, options.folds.split(",")):
                began = time.perf_counter()
                config = recipe_of("usual", settings, fold)
                config = replace(config, preprocessing=replace(config.preprocessing, height=SIDE, width=SIDE))
                dataset = load_dataset(location, config.preprocessing, config.split, paths.images_directory())
                dataset = files.restrict(dataset)
                if source != "copy":
                    dataset = files.replace_images(dataset, config.preprocessing, finer=source == "finer")
                model = train_by("usual", config, dataset, dataset.clusters, settings)
                found = run_stress_validation(model, dataset, config.preprocessing, resolve_precision("fp32"))
                within = auc_within_clusters(replace(found, stressed=found.unchanged))
                figures = judge(found) | {"within_unaltered_auc": within}
                told.append({"fold": fold} | {name: round(figures[name], DIGITS) for name in SHOWN})
                shown = " ".join(f"{name} {figures[name]:.3f}" for name in SHOWN)
                print(
                    f"{source} {side} pixels, fold {fold} ({time.perf_counter() - began:.0f} s): {shown}",
                    file=sys.stderr,
                    flush=True,
                )
            # Read anew: another process may have added its sides meanwhile.
            record = (
                json.loads(options.out.read_text()) if options.out.exists() else {"films": len(files), "networks": {}}
            )
            record["networks"][f"{source}, {side} pixels, seed {options.seed}"] = {
                "source": source,
                "side": side,
                "seed": options.seed,
                "epochs": options.epochs,
                "folds": told,
                "made": made,
            }
            write_json(options.out, record)


class LessReducedFiles:
    """Less reduced files of some training images, matched by name."""

    def __init__(self, folder):
        self.file = {path.name: path for path in sorted(folder.rglob("*.jpeg"))}

    def __len__(self):
        return len(self.file)

    def restrict(self, dataset):
        """The data set with the other images in no part of training or validation."""
        # Left out as test images are, which nothing here reads.
        splits = tuple(
            split if Path(row.path).name in self.file else Split.TEST
            for row, split in zip(dataset.index.rows, dataset.split.splits, strict=True)
        )
        return replace(dataset, split=replace(dataset.split, splits=splits))

    def replace_images(self, dataset, preprocessing, finer):
        """A restricted data set with images prepared from these files; the others are black, and not used."""
        images = np.zeros_like(dataset.images)
        for i in np.concatenate([dataset.positions(Split.TRAIN), dataset.positions(Split.VALIDATION)]):
            path = self.file[Path(dataset.index.rows[i].path).name]
            pixels = read_image(path, path.read_bytes())[0]
            if finer:
                frame = load_atlas().locate_chest(chest_square(pixels, preprocessing))
                images[i] = resample_frame(fill_margins(pixels), frame, SIDE, SIDE)
            else:
                images[i] = prepare(pixels, preprocessing)
        return replace(dataset, images=images)


if __name__ == "__main__":
    main()
