#!/usr/bin/env python3
"""Wrong and refused answers on altered radiographs of the detector's own population.

    experiments/corruptions.py [--split validation|test] [--images 300] [--bundle default --bundle nano]

Corruptions and strengths of pneumoniamnist in MedMNIST-C (Di Salvo et al. 2024, arXiv 2406.17536), and others that stations and
people cause. Wrong is a decision normal or pneumonia against the label; refused is a referral as outside or a rejection. The test
images are looked at once the guard is made; that look has its line in the ledger.
"""

import argparse
import io
import zlib
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps
from scipy.ndimage import gaussian_filter
from split_films import DETECTORS, films_of, start

from pneumoscope.bundle import SHIPPED
from pneumoscope.data.export_variants import equalise_adaptively
from pneumoscope.evaluation.intervals import wilson_interval
from pneumoscope.files import write_json
from pneumoscope.provenance import provenance
from pneumoscope.types import Decision, Split


def pixelate(image, rng, fraction):
    height, width = image.shape
    small = Image.fromarray(image).resize((int(width * fraction), int(height * fraction)), Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.BOX))


def compress(image, rng, quality):
    with io.BytesIO() as buffer:
        Image.fromarray(image).save(buffer, "JPEG", quality=quality)
        return np.asarray(Image.open(buffer))


def impulses(image, rng, fraction):
    draw = rng.random(image.shape)
    return np.where(draw < fraction / 2, 0, np.where(draw > 1 - fraction / 2, 255, image)).astype(np.uint8)


def blur(image, rng, kernel):
    sigma = 0.3 * ((kernel - 1) / 2 - 1) + 0.8  # as torchvision derives it from the kernel
    return levels(gaussian_filter(image / 255, sigma, radius=(kernel - 1) // 2))


def enhanced(kind):
    return lambda image, rng, factor: np.asarray(kind(Image.fromarray(image)).enhance(factor))


def centre(image, rng, fraction):
    top, left = (int(side * fraction / 2) for side in image.shape)
    return image[top : image.shape[0] - top, left : image.shape[1] - left].copy()


def corner(image, rng, fraction):
    cut = [int(side * fraction) for side in image.shape]
    rows, columns = (slice(c, None) if rng.random() < 0.5 else slice(None, -c) for c in cut)
    return image[rows, columns].copy()


def levels(image):
    return (np.clip(image, 0, 1) * 255).astype(np.uint8)


CONTRAST, BRIGHTNESS = enhanced(ImageEnhance.Contrast), enhanced(ImageEnhance.Brightness)
# Name to function and strengths, the mildest first.
MEDMNIST_C = {
    "pixelate": (pixelate, (0.8, 0.7, 0.6, 0.5, 0.4)),
    "JPEG": (compress, (50, 30, 15, 10, 7)),
    "Gaussian noise": (lambda i, r, s: levels(i / 255 + r.normal(0, s, i.shape)), (0.04, 0.05, 0.06, 0.07, 0.08)),
    "speckle noise": (lambda i, r, s: levels(i / 255 * (1 + r.normal(0, s, i.shape))), (0.05, 0.07, 0.1, 0.15, 0.2)),
    "impulse noise": (impulses, (0.005, 0.01, 0.013, 0.017, 0.02)),
    "shot noise": (lambda i, r, s: levels(r.poisson(i / 255 * s) / s), (300, 200, 150, 100, 80)),
    "Gaussian blur": (blur, (3, 5, 7, 9, 11, 13)),
    "brightness up": (BRIGHTNESS, (1.1, 1.2, 1.3, 1.4, 1.5)),
    "brightness down": (BRIGHTNESS, (0.9, 0.8, 0.7, 0.6, 0.5)),
    "contrast up": (CONTRAST, (1.1, 1.2, 1.3, 1.4, 1.6)),
    "contrast down": (CONTRAST, (0.9, 0.8, 0.7, 0.6, 0.4)),
    "gamma up": (lambda i, r, s: levels((i / 255) ** s), (1.1, 1.2, 1.3, 1.4, 1.6)),
    "gamma down": (lambda i, r, s: levels((i / 255) ** s), (0.9, 0.8, 0.7, 0.6, 0.4)),
}
OTHERS = {
    "as they are": (lambda i, r, s: i, (0,)),
    "CLAHE": (lambda i, r, s: equalise_adaptively(i, s), (1, 2, 3, 4, 6)),
    "histogram equalised": (lambda i, r, s: np.asarray(ImageOps.equalize(Image.fromarray(i))), (1,)),
    "contrast far up": (CONTRAST, (2, 2.6, 3.2)),
    "contrast far down": (CONTRAST, (0.3, 0.2)),
    "grey levels shifted down": (lambda i, r, s: np.clip(i.astype(int) - s, 0, 255).astype(np.uint8), (20, 40, 80)),
    "grey levels shifted up": (lambda i, r, s: np.clip(i.astype(int) + s, 0, 255).astype(np.uint8), (20, 40, 80)),
    "centre cropped": (centre, (0.05, 0.1, 0.2, 0.3)),
    "corner cropped": (corner, (0.05, 0.1, 0.2, 0.3)),
    "rotated": (lambda i, r, s: np.asarray(Image.fromarray(i).rotate(r.choice([-s, s]), 2)), (3, 6, 10, 15)),
}

# Digits of a fraction in the record: finer than one image.
DIGITS = 4


def decisions(job):
    """Decision of each detector for an image, and whether it is validated."""
    image, corruption, strength, number = job
    change = (MEDMNIST_C | OTHERS)[corruption][0]
    rng = np.random.default_rng([zlib.crc32(f"{corruption} {strength}".encode()), number])
    altered = np.ascontiguousarray(change(image, rng, strength))
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
        for corruption, (_, strengths) in (MEDMNIST_C | OTHERS).items():
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
