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
from split_films import DETECTORS, figures_at_threshold, films_of, in_short, start

from pneumoscope.bundle import SHIPPED
from pneumoscope.errors import ConfigError
from pneumoscope.files import write_json
from pneumoscope.provenance import provenance
from pneumoscope.types import Split

SIZES = (28, 64, 128, 224)
# Median of width / height of 2,323 original training films.
MEDIAN_ASPECT = 1.38


def as_medmnist(image, size, kind):
    """(size, size) uint8, a film as MedMNIST would store it."""
    picture = Image.fromarray(image)
    width, height = picture.size
    shown = MEDIAN_ASPECT * height if kind == "centre" and width == height else width
    # The shorter side of the film, in pixels of this copy along each axis.
    across, down = (min(shown, height) * width / shown, min(shown, height)) if kind == "centre" else (width, height)
    box = ((width - across) / 2, (height - down) / 2, (width + across) / 2, (height + down) / 2)
    return np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC, box=box))


def probabilities(image):
    """Class probabilities by each detector, also where its guard rejects an image, such as one of 28 pixels."""
    return {
        name: next(iter(detector.score_many([image], rejected_too=True))).class_probability
        for name, detector in DETECTORS.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", action="append")
    parser.add_argument("--npz", action="append", default=[], metavar="SIZE=FILE")
    parser.add_argument("--split", type=Split, default=Split.TEST)
    parser.add_argument("--why", default="PneumoniaMNIST's sizes; nothing chosen by it")
    parser.add_argument("--out", type=Path, default=Path("results/detector/medmnist.json"))
    options = parser.parse_args()
    names = options.bundle or list(SHIPPED)
    archives = dict(each.partition("=")[::2] for each in options.npz)
    if unknown := set(archives) - set(map(str, SIZES)):
        raise ConfigError(f"expected --npz SIZE=FILE with a size of {SIZES}, found {', '.join(unknown)}: change it")
    films = films_of(options.split, names, options.why)
    part = {Split.TRAIN: "train", Split.VALIDATION: "val", Split.TEST: "test"}[options.split]
    record = {name: {} for name in names}
    with Pool(2, start, [names]) as pool:
        for size in SIZES:
            if archive := archives.get(str(size)):
                with np.load(archive, allow_pickle=False) as held:
                    labels = held[f"{part}_labels"].ravel()
                    # The archive names no patients.
                    sets = {"MedMNIST's": (held[f"{part}_images"], labels, [str(each) for each in range(len(labels))])}
            else:
                kinds = ("squashed", "centre")
                made = {kind: [as_medmnist(film, size, kind) for film in films.images] for kind in kinds}
                sets = {kind: (images, films.pneumonia, films.patients) for kind, images in made.items()}
            for kind, (images, pneumonia, patients) in sets.items():
                found = pool.map(probabilities, list(images), chunksize=8)
                for name in names:
                    probability = 1 - np.array([one[name][0] for one in found])
                    figures = figures_at_threshold(name, probability, pneumonia, patients)
                    record[name].setdefault(str(size), {})[kind] = figures
                    print(f"{name:8} {size:4} {kind:10}", in_short(figures), flush=True)
    facts = {"split": options.split.value, "films": len(films.images), "median_aspect": MEDIAN_ASPECT, "npz": archives}
    write_json(options.out, facts | {"detectors": record} | provenance("experiments/medmnist.py"))


if __name__ == "__main__":
    main()
