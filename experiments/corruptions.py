#!/usr/bin/env python3
"""Wrong and refused answers on altered radiographs of the detector's own population.

    experiments/corruptions.py [--split validation|test] [--images 300] [--bundle default --bundle nano]

Corruptions and strengths of pneumoniamnist in MedMNIST-C (Di Salvo et al. 2024, arXiv 2406.17536), and others that stations and
people cause. Wrong is a decision normal or pneumonia against the label; refused is a referral as outside or a rejection. The test
images are looked at once the guard is made; that look has its line in the ledger.
"""

import argparse
import zlib
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from split_films import DETECTORS, films_of, start

from pneumoscope.bundle import SHIPPED
from pneumoscope.evaluation.intervals import wilson_interval
from pneumoscope.files import write_json
from pneumoscope.provenance import provenance
from pneumoscope.stress.corruptions import CORRUPTIONS, MEDMNIST_C
from pneumoscope.types import Decision, Split


def centre(image, fraction, rng):
    top, left = (int(side * fraction / 2) for side in image.shape)
    return image[top : image.shape[0] - top, left : image.shape[1] - left].copy()


def corner(image, fraction, rng):
    cut = [int(side * fraction) for side in image.shape]
    rows, columns = (slice(c, None) if rng.random() < 0.5 else slice(None, -c) for c in cut)
    return image[rows, columns].copy()


def shifted(image, levels, rng):
    return np.clip(image.astype(int) + levels, 0, 255).astype(np.uint8)


# Name to function and strengths, the mildest first.
CONTRAST = CORRUPTIONS["contrast up"][0]
OTHERS = {
    "as they are": (lambda image, nothing, rng: image, (0,)),
    "CLAHE": CORRUPTIONS["CLAHE"],
    "histogram equalised": (CORRUPTIONS["histogram equalisation"][0], (1,)),
    "contrast far up": (CONTRAST, (2, 2.6, 3.2)),
    "contrast far down": (CONTRAST, (0.3, 0.2)),
    "grey levels shifted down": (lambda image, levels, rng: shifted(image, -levels, rng), (20, 40, 80)),
    "grey levels shifted up": (shifted, (20, 40, 80)),
    "centre cropped": (centre, (0.05, 0.1, 0.2, 0.3)),
    "corner cropped": (corner, (0.05, 0.1, 0.2, 0.3)),
    "rotated": (CORRUPTIONS["rotation"][0], (3, 6, 10, 15)),
}
SHOWN = {name: CORRUPTIONS[name] for name in MEDMNIST_C} | OTHERS

# Digits of a fraction in the record: finer than one image.
DIGITS = 4


def decisions(job):
    """Decision of each detector for an image, and whether it is validated."""
    image, corruption, strength, number = job
    change = SHOWN[corruption][0]
    rng = np.random.default_rng([zlib.crc32(f"{corruption} {strength}".encode()), number])
    altered = np.ascontiguousarray(change(image, strength, rng))
    found = {name: detector.predict(altered) for name, detector in DETECTORS.items()}
    return {name: (p.decision.value, p.validated) for name, p in found.items()}


def measured(found, pneumonia):
    answered = np.array([decision in (Decision.NORMAL, Decision.PNEUMONIA) for decision, _ in found])
    wrong = np.array([decision == Decision.PNEUMONIA for decision, _ in found]) != pneumonia
    refused = np.array([not validated for _, validated in found])
    fractions = {
        name: wilson_interval(int(hit.sum()), len(hit))
        for name, hit in (("wrong", answered & wrong), ("refused", refused))
    }
    return {name: {key: round(value, DIGITS) for key, value in vars(each).items()} for name, each in fractions.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", type=Split, default=Split.VALIDATION)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--bundle", action="append")
    parser.add_argument("--why", default="corruptions: wrong and refused answers, nothing chosen by it")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    names = options.bundle or list(SHIPPED)
    films = films_of(options.split, names, options.why, options.images)
    record = {name: {} for name in names}
    with Pool(2, start, [names]) as pool:
        for corruption, (_, strengths) in SHOWN.items():
            for strength in strengths:
                jobs = [(image, corruption, strength, number) for number, image in enumerate(films.images)]
                found = pool.map(decisions, jobs, chunksize=8)
                for name in names:
                    figures = measured([one[name] for one in found], films.pneumonia)
                    record[name].setdefault(corruption, {})[str(strength)] = figures
                    parts = {k: round(100 * v["value"], 1) for k, v in figures.items()}
                    print(f"{name:8} {corruption:26} {strength!s:6}", parts, flush=True)
    facts = {"split": options.split.value, "images": len(films.images), "medmnist_c": list(MEDMNIST_C)}
    out = options.out or Path(f"results/robustness/corruptions-{options.split.value}.json")
    write_json(out, facts | {"detectors": record} | provenance("experiments/corruptions.py"))


if __name__ == "__main__":
    main()
