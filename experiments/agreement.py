"""Does a validation rank networks as the test images do? Every network of the ablation reads both; writes JSON and a figure.

    .venv/bin/python experiments/agreement.py [--runs runs/ablation] [--out results/detector/agreement.json]

Each network reads the test images once, those of an earlier run are
taken from its record, and every look is in the ledger. A network is one recipe
trained on one fold of acquisition clusters (experiments/ablate.py).
"""

import argparse
import json
import sys
from pathlib import Path
from string import ascii_uppercase

import numpy as np
from scipy.stats import spearmanr

from pneumoscope import paths
from pneumoscope.assessment.ledger import append_to_ledger
from pneumoscope.config import SplitConfig
from pneumoscope.data.dataset import load_dataset
from pneumoscope.data.labelled import labelled_images
from pneumoscope.data.locate import locate
from pneumoscope.decision import pneumonia_probability
from pneumoscope.evaluation.metrics import roc_auc
from pneumoscope.files import write_json
from pneumoscope.provenance import provenance
from pneumoscope.reporting.style import CLASS_COLOURS, NEUTRAL, drawing, png_of, save_png
from pneumoscope.training.networks import load_network
from pneumoscope.training.precision import resolve_precision
from pneumoscope.training.predict import class_probabilities
from pneumoscope.training.run_folder import RunFolder
from pneumoscope.types import Split

WHY = "does the stress validation rank networks as the test does"
# Recipes whose networks are those of another one, answering otherwise.
SAME_WEIGHTS = ("lungs-96",)
DRAWS = 2000
FIGURES = {
    "plain_auc": "held-out films as they are",
    "odd_auc": "minority normals",
    "shifted_auc": "normals stored like pneumonias",
    "odd_shifted_auc": "both",
    "within_auc": "within clusters",
}


def read_test(recipe, run, ledger, made):
    """AUC, sensitivity and specificity at 0.5 of one network on the test images."""
    config = run.config()
    dataset = load_dataset(locate(None).root, config.preprocessing, SplitConfig(), paths.images_directory())
    data = labelled_images(dataset, Split.TEST, config.model.classes)
    probability = pneumonia_probability(
        class_probabilities(load_network(run), data, resolve_precision(config.training.precision))
    )
    positive = data.labels > 0
    told = {
        "auc": roc_auc(probability, positive),
        "sensitivity": float((probability[positive] >= 0.5).mean()),
        "specificity": float((probability[~positive] < 0.5).mean()),
    }
    append_to_ledger(
        ledger,
        commit=made["commit"],
        model=f"{recipe}, fold {config.split.fold}, seed {config.training.seed}",
        config_hash=config.hash,
        split_hash=dataset.split.hash,
        films=len(data.positions),
        why=WHY,
        result={name: round(value, 4) for name, value in told.items()},
    )
    return told


def _key(recipe, validation):
    return recipe, validation["fold"], tuple(validation["seeds"])


def correlations(networks):
    """Rank correlation of each figure of the validation with the AUC on the test images: over networks, means of recipes, and within recipes.

    Intervals are 95 %, by a bootstrap over recipes.
    """
    recipes = sorted({n["recipe"] for n in networks})
    drawn = np.random.default_rng(0).integers(0, len(recipes), (DRAWS, len(recipes)))
    told = {}
    for figure in FIGURES:
        groups = [
            np.array([(n["validation"][figure], n["test"]["auc"]) for n in networks if n["recipe"] == recipe])
            for recipe in recipes
        ]
        kinds = {
            "networks": groups,
            "recipes": [group.mean(axis=0, keepdims=True) for group in groups],
            "within_recipes": [group - group.mean(axis=0) for group in groups],
        }
        told[figure] = {}
        for kind, parts in kinds.items():
            again = [spearmanr(*np.concatenate([parts[i] for i in chosen]).T).statistic for chosen in drawn]
            low, high = np.percentile(again, (2.5, 97.5))
            value = spearmanr(*np.concatenate(parts).T).statistic
            told[figure][kind] = {"value": float(value), "low": float(low), "high": float(high)}
    return told


def draw(networks, found):
    """Every network a dot, the mean of each recipe a letter."""
    if len({n["recipe"] for n in networks}) > len(ascii_uppercase):
        raise SystemExit(
            f"expected at most {len(ascii_uppercase)} recipes, a letter for each, found more: draw numbers instead"
        )
    recipes = sorted(
        {n["recipe"] for n in networks}, key=lambda r: np.mean([n["test"]["auc"] for n in networks if n["recipe"] == r])
    )
    with drawing(12, 4.4, False) as figure:
        *panels, key = figure.subplots(1, 4, width_ratios=(1, 1, 1, 0.62), sharey=False)
        for axes, name in zip(panels, ("plain_auc", "shifted_auc", "within_auc"), strict=True):
            for letter, recipe in zip(ascii_uppercase, recipes, strict=False):
                own = [n for n in networks if n["recipe"] == recipe]
                x, y = ([n["validation"][name] for n in own], [n["test"]["auc"] for n in own])
                axes.plot(x, y, "o", color=CLASS_COLOURS["normal"], alpha=0.3, markersize=4, markeredgewidth=0)
                axes.text(np.mean(x), np.mean(y), letter, weight="bold", ha="center", va="center", color="#1c1c1c")
            axes.set(
                xlabel=f"validation AUC,\n{FIGURES[name]}",
                title=f"rank correlation {found[name]['networks']['value']:.2f}",
            )
            axes.grid(alpha=0.25)
            axes.set_ylim(0.96, 0.996)
            axes.locator_params(axis="x", nbins=5)
        panels[0].set_ylabel("AUC on the official test films")
        key.axis("off")
        told = "\n".join(f"{letter}  {recipe}" for letter, recipe in zip(ascii_uppercase, recipes, strict=False))
        key.text(0, 0.98, told, va="top", fontsize=9, linespacing=1.5, color=NEUTRAL)
        key.set_title("recipes")
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--ablation", type=Path, default=Path("results/detector/ablation.json"))
    parser.add_argument("--ledger", type=Path, default=Path("results/test-ledger.jsonl"))
    parser.add_argument("--figure", type=Path, default=Path("docs/figures/agreement.png"))
    parser.add_argument("--out", type=Path, default=Path("results/detector/agreement.json"))
    parser.add_argument("--draw", action="store_true", help="the figure alone, from what is written already")
    options = parser.parse_args()
    if options.draw:
        record = json.loads(options.out.read_text())
        save_png(png_of(draw(record["networks"], record["correlations"])), options.figure)
        return
    made = provenance("experiments/agreement.py")
    read_before = json.loads(options.out.read_text())["networks"] if options.out.exists() else []
    before = {_key(network["recipe"], network["validation"]): network for network in read_before}
    read_at = {"commit": made["commit"], "date": made["date"]}
    networks = []
    for recipe, told in json.loads(options.ablation.read_text())["recipes"].items():
        if recipe in SAME_WEIGHTS:
            continue
        for validation in told["folds"]:
            if len(validation["seeds"]) > 1:  # a mean of trainings is no network of its own there
                continue
            if earlier := before.get(_key(recipe, validation)):
                networks.append(earlier)
                continue
            run = RunFolder(options.runs / recipe / f"fold-{validation['fold']}" / f"seed-{validation['seeds'][0]}")
            networks.append(
                {"recipe": recipe, "validation": validation, "test": read_test(recipe, run, options.ledger, made)}
                | read_at
            )
            print(recipe, validation["fold"], networks[-1]["test"], file=sys.stderr, flush=True)
    found = correlations(networks)
    write_json(options.out, {"why": WHY, "correlations": found, "networks": networks} | made)
    save_png(png_of(draw(networks, found)), options.figure)


if __name__ == "__main__":
    main()
