"""Recipes for the detector, each trained on every fold of acquisition clusters and validated on normals of clusters that it knows as pneumonia alone.

    .venv/bin/python experiments/ablate.py plain bold ... [--folds 3] [--only-folds 0,1] [--out runs/ablation]

A recipe is a configuration that ships with the package: chest-odd of configs/ablation/, default, nano, or a model of the study. What was trained already is taken.
results/detector/ablation.json gets an entry per recipe: AUC, specificity at 0.5 and the best balanced accuracy there is,
over ordinary normals (plain), normals of clusters that training knew as pneumonia alone (odd), and both stored like
pneumonias (shifted, odd_shifted); the AUC among images of one cluster (within); three classes, and viral against bacterial.
The test images are out of reach here.
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from pneumoscope.config import SplitConfig
from pneumoscope.configs import config_names, shipped_config
from pneumoscope.data.locate import locate
from pneumoscope.detector_training.cross_fitting import held_out_predictions
from pneumoscope.detector_training.stress_validation import auc_within_clusters, join_members
from pneumoscope.evaluation.metrics import compute_metrics, roc_auc
from pneumoscope.evaluation.thresholds import best_operating_point
from pneumoscope.files import write_json
from pneumoscope.provenance import provenance
from pneumoscope.training.allocator import keep_freed_memory
from pneumoscope.training.callbacks import Callbacks, SilentObserver
from pneumoscope.types import SCHEMES

# Digits of a figure in the record: finer than one image.
DIGITS = 5


class Told(SilentObserver):
    def epoch_done(self, result, epochs, waited):
        print(
            f"  epoch {result.epoch}/{epochs} loss {result.loss:.3f} val {result.val_loss:.3f} "
            f"acc {result.val_accuracy:.3f} {result.films_per_second:.0f} img/s",
            file=sys.stderr,
            flush=True,
        )


def judge(found):
    """Numbers of one fold."""
    positive, minority_normal = found.label > 0, found.minority
    told = {"odd_normals": int(minority_normal.sum())}
    shifted = 1 - found.stressed[:, 0]
    plain = 1 - found.unchanged[:, 0]
    views = {
        "plain": (plain, ~minority_normal),
        "odd": (plain, positive | minority_normal),
        "shifted": (shifted, ~minority_normal),
        "odd_shifted": (shifted, positive | minority_normal),
    }
    for view, (scores, taken) in views.items():
        score, truth = scores[taken], positive[taken]
        best = best_operating_point(score, truth, "balanced_accuracy")
        told |= {
            f"{view}_auc": roc_auc(score, truth),
            f"{view}_specificity": float((score[~truth] < 0.5).mean()),
            f"{view}_best": (best.sensitivity + best.specificity) / 2,
            f"{view}_best_threshold": best.threshold,
        }
    told["within_auc"] = auc_within_clusters(found)
    usual = compute_metrics(
        found.unchanged, found.label, SCHEMES[found.unchanged.shape[1]].names, np.ones((1, len(positive)))
    )
    told["sensitivity"] = float(usual["sensitivity"][0])
    told["three_class"] = float(usual["accuracy"][0])
    told["viral_auc"] = float(usual["auc_viral_vs_bacterial"][0])
    return told


def main():
    keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--only-folds", default="")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--together", action="store_true", help="judge the seeds together, not each")
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--results", type=Path, default=Path("results/detector/ablation.json"))
    options = parser.parse_args()
    chosen = [int(f) for f in options.only_folds.split(",")] if options.only_folds else range(options.folds)
    asked = [[*range(options.seeds)]] if options.together else [[seed] for seed in range(options.seeds)]
    location = locate(None)
    made = provenance("experiments/ablate.py")
    record = json.loads(options.results.read_text()) if options.results.exists() else {"recipes": {}}
    for name in options.recipes:
        recipe = shipped_config(name if name in config_names() else f"ablation/{name}")
        folds = []
        for fold in chosen:
            split = SplitConfig(seed=0, folds=options.folds, fold=fold, by="style")
            for seeds in asked:
                began = time.perf_counter()
                folder = options.out / name / f"fold-{fold}"
                configs = [replace(recipe, split=split).with_training(seed=seed) for seed in seeds]
                members = [held_out_predictions(each, location, folder, Callbacks(training=Told())) for each in configs]
                told = judge(join_members(members, [1 / len(members)] * len(members)))
                folds.append(
                    {"fold": fold, "seeds": seeds} | {name: round(value, DIGITS) for name, value in told.items()}
                )
                shown = " ".join(f"{k} {v:.3f}" for k, v in told.items())
                print(f"{name} fold {fold} seeds {seeds} ({time.perf_counter() - began:.0f} s): {shown}", flush=True)
        mean = {k: float(np.nanmean([f[k] for f in folds])) for k in folds[0] if k not in ("fold", "seeds")}
        print(f"{name}: " + " ".join(f"{k} {v:.3f}" for k, v in mean.items()), flush=True)
        record["recipes"][f"{name}, {options.seeds} seeds together" if options.together else name] = {
            "folds": folds,
            # What training depends on: the record would outgrow its limit with the texts of detectors.
            "settings": {k: v for k, v in recipe.to_dict().items() if k not in ("name", "detector", "split")},
            "made": made,
        }
        write_json(options.results, record)


if __name__ == "__main__":
    main()
