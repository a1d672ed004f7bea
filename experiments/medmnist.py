#!/usr/bin/env python3
"""Detectors on the test images at the sizes of PneumoniaMNIST: 28, 64, 128 and 224 pixels.

    experiments/medmnist.py [--bundle default --bundle nano] [--npz 28=pneumoniamnist.npz --npz 64=pneumoniamnist_64.npz ...]

MedMNIST (Yang et al. 2023, doi 10.1038/s41597-022-01721-8) cuts out the central square, as wide as the film's shorter side, and reduces it
(split 4,708 / 524 / 624; its test images are the official ones). Where its archive is named by --npz, its images are read. Otherwise they are
made of the copies at hand, of two kinds where these are square already and the film's own aspect is not known: `squashed`, the whole film
reduced, and `centre`, its central part as if each film had the median aspect of the originals. Both are stated. The threshold is the balanced one of
the bundle, fitted on held-out training films; one line in the ledger.
"""

import argparse
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from PIL import Image

from pneumoscope.assessment.ledger import USUAL_LEDGER, append_to_ledger
from pneumoscope.config import SplitConfig
from pneumoscope.data.index import build_index
from pneumoscope.data.locate import locate
from pneumoscope.data.sources import open_source
from pneumoscope.data.split import draw_validation
from pneumoscope.errors import ConfigError
from pneumoscope.evaluation.intervals import estimate_metrics
from pneumoscope.files import write_json
from pneumoscope.inference.detector import load_detector
from pneumoscope.provenance import commit, provenance
from pneumoscope.types import BINARY, Finding, Split

SIZES = (28, 64, 128, 224)
# Median of width / height of 2,323 original training films.
MEDIAN_ASPECT = 1.38
_DETECTORS = {}


def as_medmnist(image, size, kind):
    """(size, size) uint8, a film as MedMNIST would store it."""
    picture = Image.fromarray(image)
    width, height = picture.size
    shown = MEDIAN_ASPECT * height if kind == "centre" and width == height else width
    # The shorter side of the film, in pixels of this copy along each axis.
    across, down = (min(shown, height) * width / shown, min(shown, height)) if kind == "centre" else (width, height)
    box = ((width - across) / 2, (height - down) / 2, (width + across) / 2, (height + down) / 2)
    return np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC, box=box))


def start(names):
    _DETECTORS.update({name: load_detector(name, threads=1) for name in names})


def probabilities(image):
    """Class probabilities by each detector, also where its guard rejects an image, such as one of 28 pixels."""
    return {
        name: next(iter(detector.score_many([image], rejected_too=True))).class_probability
        for name, detector in _DETECTORS.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", action="append")
    parser.add_argument("--npz", action="append", default=[], metavar="SIZE=FILE")
    parser.add_argument("--split", type=Split, default=Split.TEST)
    parser.add_argument("--why", default="PneumoniaMNIST's sizes; nothing chosen by it")
    parser.add_argument("--out", type=Path, default=Path("results/detector/medmnist.json"))
    options = parser.parse_args()
    names = options.bundle or ["default", "nano"]
    archives = dict(each.partition("=")[::2] for each in options.npz)
    if unknown := set(archives) - set(map(str, SIZES)):
        raise ConfigError(f"expected --npz SIZE=FILE with a size of {SIZES}, found {', '.join(unknown)}: change it")
    source = open_source(locate(None).root)
    index = build_index(source)
    split = draw_validation(index, SplitConfig().seed)
    rows = [index.rows[i] for i in split.positions(options.split)]
    films = [source.read(row.path) for row in rows]
    label = np.array([row.finding is Finding.PNEUMONIA for row in rows]).astype(int)
    patients = [row.patient for row in rows]
    if options.split is Split.TEST:
        facts = {"commit": commit(), "model": ", ".join(names), "split_hash": split.hash, "films": len(rows)}
        append_to_ledger(USUAL_LEDGER, **facts, why=options.why, result={})
    thresholds = {name: load_detector(name).bundle.manifest.operating_point("balanced").threshold for name in names}
    record = {name: {} for name in names}
    with Pool(2, start, [names]) as pool:
        for size in SIZES:
            if archive := archives.get(str(size)):
                with np.load(archive, allow_pickle=False) as held:
                    sets = {"MedMNIST's": (held["test_images"], held["test_labels"].ravel().astype(int), None)}
            else:
                kinds = ("squashed", "centre")
                sets = {kind: ([as_medmnist(film, size, kind) for film in films], label, patients) for kind in kinds}
            for kind, (images, truth, owners) in sets.items():
                found = pool.map(probabilities, list(images), chunksize=8)
                for name in names:
                    normal = np.array([one[name][0] for one in found])
                    figures = estimate_metrics(
                        np.stack([normal, 1 - normal], axis=1),
                        truth,
                        owners or [str(number) for number in range(len(truth))],
                        BINARY.names,
                        threshold=thresholds[name],
                    )
                    kept = {key: vars(figures[key]) for key in ("auc", "accuracy", "sensitivity", "specificity")}
                    record[name].setdefault(str(size), {})[kind] = kept
                    told = {key: round(each["value"], 3) for key, each in kept.items()}
                    print(f"{name:8} {size:4} {kind:10}", told, flush=True)
    facts = {"split": options.split.value, "films": len(rows), "median_aspect": MEDIAN_ASPECT, "npz": archives}
    write_json(options.out, facts | {"detectors": record} | provenance("experiments/medmnist.py"))


if __name__ == "__main__":
    main()
