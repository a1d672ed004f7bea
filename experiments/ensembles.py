"""Which networks predict best together? Every combination of trained detectors, measured on the folds of acquisition clusters.

    .venv/bin/python experiments/ensembles.py runs/default runs/nano ... [--most 4] [--out results/detector/ensembles.json]

RUN is a folder of `pneumoscope train`. The weights of the members are fitted on the out-of-fold predictions of all folds but one and
measured on that one, so that nothing is measured where it was fitted; figures are means over the folds, as in
`experiments/ablate.py`. Nothing is trained, and the test images are out of reach here.
"""

import argparse
from itertools import combinations
from pathlib import Path

import numpy as np
from ablate import judge

from pneumoscope.decision import pneumonia_probability, softmax
from pneumoscope.detector_training.stress_validation import (
    join_members,
    load_stress_validation,
    stack_members,
    stress_set,
)
from pneumoscope.evaluation.metrics import roc_auc
from pneumoscope.evaluation.thresholds import best_operating_point
from pneumoscope.files import write_json
from pneumoscope.provenance import provenance

SHOWN = ("within_auc", "shifted_auc", "odd_shifted_auc", "viral_auc", "three_class", "balanced_accuracy", "auc")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--most", type=int, default=4, help="largest number of members")
    parser.add_argument("--out", type=Path, default=Path("results/detector/ensembles.json"))
    options = parser.parse_args()
    members = {}
    for run in options.runs:
        for name, folds in networks(run).items():
            if name in members:
                raise SystemExit(f"expected runs of different names, found {name} twice: rename a folder")
            members[name] = folds
    if not members:
        raise SystemExit("expected finished folds of detectors, found none: name folders of pneumoscope train")
    found = []
    for count in range(1, min(options.most, len(members)) + 1):
        for names in combinations(members, count):
            weights, figures = measure([members[name] for name in names])
            found.append({"members": dict(zip(names, weights, strict=True))} | figures)
    found.sort(key=lambda each: each["within_auc"])
    for each in found:
        told = " + ".join(f"{weight:.2f} {name}" for name, weight in each["members"].items())
        print(" ".join(f"{name} {each[name]:.4f}" for name in SHOWN), "", told)
    write_json(options.out, {"ensembles": found} | provenance("experiments/ensembles.py"))


def networks(run):
    """Out-of-fold predictions of each network of a run, by fold; those of an ensemble's members too."""
    found = {}
    for folds in sorted([run / "folds", *run.glob("members/*/folds")]):
        # Older runs have files of several seeds, such as hard-0-1, beside those of one.
        seeds = {file.stem.removeprefix("hard-") for file in folds.glob("fold-*/hard-*.npz")}
        for seed in sorted(filter(str.isdigit, seeds)):
            files = [fold / f"hard-{seed}.npz" for fold in sorted(folds.iterdir())]
            if all(file.exists() for file in files):
                found[f"{folds.parent.name} {seed}"] = [load_stress_validation(file) for file in files]
    return found


def measure(members):
    """Weights fitted on all folds, and figures of each fold with weights of the others, averaged."""
    folds = list(zip(*members, strict=True))
    measured = []
    for held_out, fold in enumerate(folds):
        others = folds[:held_out] + folds[held_out + 1 :]
        weights = stack_members(list(zip(*others, strict=True)))
        together = join_members(fold, weights)
        rest = stress_set([join_members(each, weights) for each in others])
        own = stress_set([together])
        threshold = best_operating_point(score(rest), rest.label > 0, "balanced_accuracy", rest.weight).threshold
        called, positive = score(own) >= threshold, own.label > 0
        right = [np.average(called[part] == positive[part], weights=own.weight[part]) for part in (positive, ~positive)]
        measured.append(
            judge(together) | {"balanced_accuracy": float(np.mean(right)), "auc": roc_auc(score(own), positive)}
        )
    return stack_members(members), {name: float(np.mean([each[name] for each in measured])) for name in SHOWN}


def score(stress):
    """Pneumonia's probability."""
    return pneumonia_probability(softmax(stress.logit))


if __name__ == "__main__":
    main()
