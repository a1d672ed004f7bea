#!/usr/bin/env python3
"""Whether `adapt --suggest` needs fewer labels than random choice: linear heads for two hospitals, labels bought in steps of 40.

    experiments/suggestion.py NAME=PATH[:POSITIVE] ... [--bundle default --bundle nano] [--out FILE]

In each of 30 repeats a third of the patients is held out; both strategies begin with the same 40 labels.
"""

import argparse
from pathlib import Path

import numpy as np

from adaptation import described
from pneumoscope.adaptation.cross_validation import grouped_folds, positive_probability
from pneumoscope.adaptation.linear_head import fit_linear_heads
from pneumoscope.adaptation.methods import balancing_weights
from pneumoscope.adaptation.suggestion import choose_images
from pneumoscope.bundle import find_bundle
from pneumoscope.evaluation.metrics import roc_auc
from pneumoscope.files import write_json
from pneumoscope.provenance import provenance

STEP, STEPS, REPEATS, PENALTY = 40, 6, 30, 100.0


def labels_bought(images, repeat, suggested):
    """AUC on held-out patients after each step."""
    rng = np.random.default_rng(repeat)
    fold = grouped_folds(images.label, images.patients, 3, repeat)
    test, train = np.flatnonzero(fold == 0), np.flatnonzero(fold != 0)
    label = images.positive.astype(np.int64)
    labelled = rng.permutation(train)[:STEP]
    found = []
    for _ in range(STEPS):
        weight = balancing_weights(label[labelled])
        [head] = fit_linear_heads(images.features[labelled], label[labelled], 2, [PENALTY], weight)
        found.append(roc_auc(positive_probability(head(images.features[test])), label[test]))
        rest = np.setdiff1d(train, labelled)
        if suggested:
            probability = positive_probability(head(images.features[rest]))
            more = rest[choose_images(probability, 0.5, images.features[rest], STEP)]
        else:
            more = rng.permutation(rest)[:STEP]
        labelled = np.concatenate([labelled, more])
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+")
    parser.add_argument("--bundle", action="append")
    parser.add_argument("--out", type=Path, default=Path("results/robustness/suggestion.json"))
    options = parser.parse_args()
    results = {}
    for bundle in options.bundle or ("default", "nano"):
        parent = find_bundle(bundle)
        for each in options.data:
            name, _, images, _ = described(parent, each)
            random, suggested = (
                np.array([labels_bought(images, repeat, by) for repeat in range(REPEATS)]) for by in (False, True)
            )
            gain = suggested - random
            results.setdefault(bundle, {})[name] = {
                "labels": [STEP * (step + 1) for step in range(STEPS)],
                "random": random.mean(axis=0).tolist(),
                "suggested": suggested.mean(axis=0).tolist(),
                "standard_error_of_gain": (gain.std(axis=0, ddof=1) / np.sqrt(REPEATS)).tolist(),
            }
            print(bundle, name, results[bundle][name], flush=True)
    write_json(options.out, {"repeats": REPEATS, "bundles": results} | provenance("experiments/suggestion.py"))


if __name__ == "__main__":
    main()
