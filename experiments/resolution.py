"""Does more resolution than that of the 224-pixel copies help? The same films from both, at several sizes of the network's input.

    .venv/bin/python experiments/resolution.py FOLDER [--sides 96,128,192] [--folds 0,1] [--seed 0]

FOLDER holds training images of the data set under their names, less reduced, such as 256 pixels on the short side with their aspect kept.
Only these take part, with the folds and acquisition clusters of the whole data set. Trained as `usual` of `experiments/methods.py`, with
images that are not altered in the validation, since a stress image has no more detail than the 224-pixel copy: AUC within clusters,
of minority normals against all pneumonias, viral against bacterial, and the accuracy of three classes. The test images are out of reach here.
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
from pneumoscope.data.cache import cached_images
from pneumoscope.data.dataset import load_dataset
from pneumoscope.data.index import build_index
from pneumoscope.data.locate import locate
from pneumoscope.data.sources import open_source
from pneumoscope.detector_training.stress_validation import auc_within_clusters, run_stress_validation
from pneumoscope.files import write_json
from pneumoscope.provenance import provenance
from pneumoscope.training.allocator import keep_freed_memory
from pneumoscope.training.precision import resolve_precision
from pneumoscope.types import Split

SHOWN = ("within_auc", "odd_auc", "viral_auc", "three_class")


def main():
    keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sides", default="96,128,192")
    parser.add_argument("--folds", default="0,1")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results/detector/resolution.json"))
    options = parser.parse_args()
    location, made = locate(None), provenance("experiments/resolution.py")
    finer = FinerFilms(options.folder)
    for side in map(int, options.sides.split(",")):
        settings = argparse.Namespace(side=side, epochs=options.epochs, seed=options.seed)
        for source in ("copy", "finer"):
            told = []
            for fold in map(int, options.folds.split(",")):
                began = time.perf_counter()
                config = recipe_of("usual", settings, fold)
                dataset = load_dataset(location, config.preprocessing, config.split, paths.images_directory())
                dataset = finer.restrict(dataset)
                if source == "finer":
                    dataset = finer.replace_images(dataset, config.preprocessing)
                model = train_by("usual", config, dataset, dataset.clusters, settings)
                found = run_stress_validation(model, dataset, config.preprocessing, resolve_precision("fp32"))
                figures = judge(found) | {"within_auc": auc_within_clusters(replace(found, stressed=found.unchanged))}
                told.append({"fold": fold} | {name: round(figures[name], DIGITS) for name in SHOWN})
                shown = " ".join(f"{name} {figures[name]:.3f}" for name in SHOWN)
                print(
                    f"{source} {side} pixels, fold {fold} ({time.perf_counter() - began:.0f} s): {shown}",
                    file=sys.stderr,
                    flush=True,
                )
            # Read anew: another process may have added its sides meanwhile.
            record = (
                json.loads(options.out.read_text()) if options.out.exists() else {"films": len(finer), "networks": {}}
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


class FinerFilms:
    """Less reduced files of some training images, matched by name."""

    def __init__(self, folder):
        self.source = open_source(folder)
        self.index = build_index(self.source)
        self.position = {Path(row.path).name: i for i, row in enumerate(self.index.rows)}

    def __len__(self):
        return len(self.position)

    def restrict(self, dataset):
        """The data set with the other images in no part of training or validation."""
        splits = tuple(
            split if Path(row.path).name in self.position else Split.TEST
            for row, split in zip(dataset.index.rows, dataset.split.splits, strict=True)
        )
        return replace(dataset, split=replace(dataset.split, splits=splits))

    def replace_images(self, dataset, preprocessing):
        """A restricted data set with images prepared from these files; the others are black, and not used."""
        prepared = cached_images(self.source, self.index, preprocessing, paths.images_directory())
        images = np.zeros_like(dataset.images)
        for i in np.concatenate([dataset.positions(Split.TRAIN), dataset.positions(Split.VALIDATION)]):
            images[i] = prepared[self.position[Path(dataset.index.rows[i].path).name]]
        return replace(dataset, images=images)


if __name__ == "__main__":
    main()
