#!/usr/bin/env python3
"""How much of the answer comes from the frame, and what a black frame costs.

    experiments/frame.py [--split validation|test] [--bundle default --bundle nano] [--why REASON]

The middle of each film is hidden, or everything outside of it, or the pixels of each block of 16 x 16 are shuffled, which leaves the
coarse outline alone; the film is then read as any other. A detector that reads the lungs is blind without the middle (AUC near .5)
and unmoved by what hides the rest. Accuracy is that at the balanced threshold, referrals and rejections not counted. The
films are the validation tenth of the training films, or the test films, with a line in the ledger.
"""

import argparse
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from split_films import DETECTORS, figures_at_threshold, films_of, in_short, start

from pneumoscope.bundle import SHIPPED
from pneumoscope.data.preprocessing import chest_square
from pneumoscope.decision import pneumonia_probability
from pneumoscope.files import write_json
from pneumoscope.provenance import provenance
from pneumoscope.types import Split

BLOCK = 16


def inside(image, fraction):
    """Mask of the central part of an image, `fraction` of its height and width."""
    mask = np.zeros(image.shape, dtype=bool)
    rows, columns = (round(side * (1 - fraction) / 2) for side in image.shape)
    mask[rows : image.shape[0] - rows, columns : image.shape[1] - columns] = True
    return mask


def hidden(fraction, grey, outside=False):
    return lambda image, rng: np.where(inside(image, fraction) != outside, np.uint8(grey), image)


def shuffled(image, rng):
    """Pixels of each block of the film at 224 x 224 in random order."""
    square = chest_square(image)
    side = len(square) // BLOCK
    blocks = square.reshape(side, BLOCK, side, BLOCK).swapaxes(1, 2).reshape(side * side, BLOCK * BLOCK)
    mixed = rng.permuted(blocks, axis=1)
    return np.ascontiguousarray(mixed.reshape(side, side, BLOCK, BLOCK).swapaxes(1, 2).reshape(square.shape))


VIEWS = {
    "as it is": lambda image, rng: image,
    "central 80 % black": hidden(0.8, 0),
    "central 60 % black": hidden(0.6, 0),
    "central 80 % grey": hidden(0.8, 128),
    "central 60 % grey": hidden(0.6, 128),
    "outside the central 70 % black": hidden(0.7, 0, outside=True),
    "blocks of 16 x 16 shuffled": shuffled,
}


def probabilities(job):
    """Probability of pneumonia by each detector for each view of a film."""
    image, number = job
    views = [
        np.ascontiguousarray(change(image, np.random.default_rng([index, number])))
        for index, change in enumerate(VIEWS.values())
    ]
    scores = {name: detector.score_many(views, rejected_too=True) for name, detector in DETECTORS.items()}
    return {
        name: [pneumonia_probability(each.class_probability[None])[0] for each in found]
        for name, found in scores.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", type=Split, default=Split.VALIDATION)
    parser.add_argument("--bundle", action="append")
    parser.add_argument("--why", default="how much of the answer is the frame; nothing chosen by it")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    names = options.bundle or list(SHIPPED)
    films = films_of(options.split, names, options.why)
    with Pool(2, start, [names]) as pool:
        found = pool.map(probabilities, [(image, number) for number, image in enumerate(films.images)], chunksize=4)
    record = {}
    for name in names:
        for index, view in enumerate(VIEWS):
            probability = np.array([one[name][index] for one in found])
            figures = figures_at_threshold(name, probability, films.pneumonia, films.patients)
            record.setdefault(name, {})[view] = figures
            print(f"{name:8} {view:32}", in_short(figures), flush=True)
    out = options.out or Path(f"results/robustness/frame-{options.split.value}.json")
    facts = {"split": options.split.value, "films": len(films.images)}
    write_json(out, facts | {"detectors": record} | provenance("experiments/frame.py"))


if __name__ == "__main__":
    main()
