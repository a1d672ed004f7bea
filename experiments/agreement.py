"""Does a validation rank networks as the test films do? Every network of the ablation reads both; writes JSON and a figure.

    .venv/bin/python experiments/agreement.py [--runs runs/ablation] [--out results/detector/agreement.json]

Run once, after the detectors were chosen: nothing is chosen by it, and every look is in the ledger. A network is one recipe
trained on one style fold (experiments/ablate.py). For each figure of the validation, the rank correlation with the AUC on
the test films, over the networks and over the means of the recipes.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from pneumoscope import places
from pneumoscope.config import SplitConfig
from pneumoscope.data.dataset import load_dataset
from pneumoscope.data.locate import locate
from pneumoscope.decision import pneumonia_probability
from pneumoscope.evaluation.metrics import roc_auc
from pneumoscope.files import write_json
from pneumoscope.presentation.style import CLASS_COLOURS, NEUTRAL, drawing, png_of, save_png
from pneumoscope.study.assessment import append_to_ledger
from pneumoscope.study.networks import load_network
from pneumoscope.training.batches import labelled_films
from pneumoscope.training.precision import resolve_precision
from pneumoscope.training.predict import class_probabilities
from pneumoscope.training.provenance import provenance
from pneumoscope.training.run import RunFolder
from pneumoscope.types import Split

WHY = "does the hard validation rank networks as the test does; nothing is chosen by it"
FIGURES = {
    "plain_auc": "held-out films as they are",
    "odd_auc": "normals of odd styles",
    "shifted_auc": "normals stored like pneumonias",
    "odd_shifted_auc": "both",
    "within_auc": "within styles",
}


def read_test(run, ledger, made):
    """AUC, sensitivity and specificity at 0.5 of one network on the test films."""
    config = run.config()
    dataset = load_dataset(locate(None).root, config.preprocessing, SplitConfig(), places.films_directory())
    data = labelled_films(dataset, Split.TEST, config.model.classes)
    chance = pneumonia_probability(
        class_probabilities(load_network(run), data, resolve_precision(config.training.precision))
    )
    sick = data.labels > 0
    told = {
        "auc": roc_auc(chance, sick),
        "sensitivity": float((chance[sick] >= 0.5).mean()),
        "specificity": float((chance[~sick] < 0.5).mean()),
    }
    append_to_ledger(
        ledger,
        commit=made["commit"],
        model=f"{config.name}, style fold {config.split.fold}, seed {config.training.seed}",
        config_hash=config.hash,
        split_hash=dataset.split.hash,
        films=len(data.positions),
        why=WHY,
        result={name: round(value, 4) for name, value in told.items()},
    )
    return told


def correlations(networks):
    """Of each figure of the validation with the AUC on the test films."""
    recipes = sorted({n["recipe"] for n in networks})
    told = {}
    for figure in FIGURES:
        pairs = np.array([(n["validation"][figure], n["test"]["auc"]) for n in networks])
        means = np.array([pairs[[n["recipe"] == r for n in networks]].mean(axis=0) for r in recipes])
        told[figure] = {
            "networks": float(spearmanr(*pairs.T).statistic),
            "recipes": float(spearmanr(*means.T).statistic),
        }
    return told


def draw(networks, found):
    with drawing(11, 4.2, False) as figure:
        for axes, name in zip(
            figure.subplots(1, 3, sharey=True), ("plain_auc", "shifted_auc", "within_auc"), strict=True
        ):
            for recipe in sorted({n["recipe"] for n in networks}):
                own = [n for n in networks if n["recipe"] == recipe]
                x, y = ([n["validation"][name] for n in own], [n["test"]["auc"] for n in own])
                axes.plot(x, y, "o", color=CLASS_COLOURS["normal"], alpha=0.45, markersize=4)
                axes.annotate(recipe, (np.mean(x), np.mean(y)), fontsize=6.5, color=NEUTRAL, ha="center", va="bottom")
            axes.set(xlabel=f"validation AUC, {FIGURES[name]}", title=f"rank correlation {found[name]['networks']:.2f}")
            axes.grid(alpha=0.25)
        figure.axes[0].set_ylabel("AUC on the official test films")
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--ablation", type=Path, default=Path("results/detector/ablation.json"))
    parser.add_argument("--ledger", type=Path, default=Path("results/test-ledger.jsonl"))
    parser.add_argument("--figure", type=Path, default=Path("docs/figures/agreement.png"))
    parser.add_argument("--out", type=Path, default=Path("results/detector/agreement.json"))
    options = parser.parse_args()
    made = provenance() | {"command": " ".join(["experiments/agreement.py", *sys.argv[1:]])}
    networks = []
    for recipe, told in json.loads(options.ablation.read_text())["recipes"].items():
        for validation in told["folds"]:
            if len(validation["seeds"]) > 1:  # a mean of trainings is no network of its own there
                continue
            run = RunFolder(options.runs / recipe / f"fold-{validation['fold']}" / f"seed-{validation['seeds'][0]}")
            networks.append({"recipe": recipe, "validation": validation, "test": read_test(run, options.ledger, made)})
            print(recipe, validation["fold"], networks[-1]["test"], file=sys.stderr, flush=True)
    found = correlations(networks)
    write_json(options.out, {"why": WHY, "correlations": found, "networks": networks} | made)
    save_png(png_of(draw(networks, found)), options.figure)


if __name__ == "__main__":
    main()
