#!/usr/bin/env python3
"""Networks trained on phantoms whose classes differ in one thing alone: does the stress test name it?

    experiments/planted_shortcuts.py [--seeds 20] [--only storage]

Planted are JPEG quality (storage), a letter in a corner (corners), the aspect ratio of the file (geometry), or streaks in the
lungs (lungs). Each seed has phantoms, a network and phantoms for the test of its own. Writes JSON after every seed, and goes on from
the seeds of an earlier run.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from pneumoscope.data.augmentation import recompress_jpeg
from pneumoscope.data.phantom import phantom_image
from pneumoscope.files import write_json
from pneumoscope.provenance import provenance
from pneumoscope.stress import Radiographs, stress_test

SIDE, TRAINED, TESTED, EPOCHS = 128, 300, 80, 12
JPEG = (92, 25)
WIDER = (1.2, 1.3)


def phantom(word, rng):
    return np.asarray(Image.fromarray(phantom_image(word, rng)).resize((SIDE, SIDE)))


def storage(positive, rng):
    return recompress_jpeg(phantom("normal", rng), JPEG[positive])


def corners(positive, rng):
    image = Image.fromarray(phantom("normal", rng))
    ImageDraw.Draw(image).text((4, 3), "LR"[positive], fill=250, font=ImageFont.load_default(14))
    return np.asarray(image)


def geometry(positive, rng):
    image = Image.fromarray(phantom("normal", rng))
    spare = (1 - 1 / rng.uniform(*WIDER)) / 2 * SIDE if positive else 0.0
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=(0, spare, SIDE, SIDE - spare)))


def lungs(positive, rng):
    return phantom("virus" if positive else "normal", rng)


PLANTED = {each.__name__: each for each in (storage, corners, geometry, lungs)}


def images_of(plant, count, seed):
    positive = np.arange(count) % 2 == 1
    return np.stack([plant(int(each), np.random.default_rng([seed, n])) for n, each in enumerate(positive)]), positive


def as_input(images):
    return torch.from_numpy(images).unsqueeze(1) / 127.5 - 1


def trained(images, positive, seed):
    """Small convolutional network, trained; as a function of images."""
    torch.manual_seed(seed)
    layers = torch.nn
    network = layers.Sequential(
        *(layers.Conv2d(1, 16, 3, padding=1), layers.BatchNorm2d(16), layers.ReLU(), layers.MaxPool2d(2)),
        *(layers.Conv2d(16, 32, 3, 2, padding=1), layers.BatchNorm2d(32), layers.ReLU(), layers.MaxPool2d(2)),
        *(layers.Conv2d(32, 32, 3, padding=1), layers.ReLU(), layers.AdaptiveAvgPool2d(8), layers.Flatten()),
        layers.Linear(32 * 64, 1),
    )
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    inputs, labels = as_input(images), torch.from_numpy(positive).float()
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(inputs)).split(16):
            optimizer.zero_grad()
            loss = torch.nn.functional.binary_cross_entropy_with_logits(network(inputs[batch])[:, 0], labels[batch])
            loss.backward()
            optimizer.step()
    network.eval()

    def predict(shown):
        with torch.inference_mode():
            return torch.sigmoid(network(as_input(shown))[:, 0]).double().numpy()

    return predict


def verdict_of(name, seed):
    predict = trained(*images_of(PLANTED[name], TRAINED, seed), seed)
    images, positive = images_of(PLANTED[name], TESTED, 1_000_000 + seed)
    names = [str(number) for number in range(TESTED)]
    test = stress_test(predict, Radiographs(images, positive, names, names), corrupted=0)
    return {
        "seed": seed,
        "reads": test.verdict.reads,
        "also": list(test.verdict.also),
        "auc": round(test.measures.plain.auc.value, 3),
        "reliance": {each: round(found.difference.value, 3) for each, found in test.measures.reliance.items()},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--only", choices=PLANTED, action="append")
    parser.add_argument("--out", type=Path, default=Path("results/robustness/planted_shortcuts.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    before = json.loads(options.out.read_text())["verdicts"] if options.out.exists() else {}
    record = {name: before.get(name, []) for name in options.only or PLANTED}
    for seed in range(min(map(len, record.values())), options.seeds):
        for name, found in record.items():
            if seed < len(found):
                continue
            found.append(verdict_of(name, seed) | {"commit": provenance("")["commit"]})
            print(name, found[-1], flush=True)
        named = {name: sum(each["reads"] == name for each in found) for name, found in record.items()}
        facts = {"seeds": seed + 1, "trained_on": TRAINED, "tested_on": TESTED, "named": named, "verdicts": record}
        write_json(options.out, facts | provenance("experiments/planted_shortcuts.py"))


if __name__ == "__main__":
    main()
