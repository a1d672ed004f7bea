#!/usr/bin/env python3
"""Which validation ranks networks as the test does: the usual one, or the stress test? Writes JSON and a figure.

    experiments/ranking.py [--study runs/study] [--runs runs/ranking] [--seeds 2] [--only plain,file] [--train-only]

All networks are trained on the same 4,709 images and stress-tested on the same 523 of other patients, as a user would do it; the
recipes are those of the study (from the folder of `pneumoscope study`) and of the detectors' ablation, the latter mostly with the
small network at 64 pixels. `--keras` names a folder of models that `benchmarks/keras_side.py` kept. `naive` is EfficientNet-lite0 from ImageNet, fine-tuned without any augmentation; `random` is an
untrained network. Each network reads the test images once; those of an earlier run are kept from its record, with or without their
run folders, and those of the shipped bundles (`--shipped`), whose networks are of the same 4,709 images, from their
evaluation in `results/detector/`. Every look has its line in the ledger.
"""

import argparse
import csv
import json
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from string import ascii_uppercase

import numpy as np
import torch
from scipy.stats import spearmanr

from pneumoscope import paths
from pneumoscope.assessment.ledger import append_to_ledger
from pneumoscope.bundle import SHIPPED
from pneumoscope.config import AugmentationConfig, DetectorConfig, Preprocessing, SplitConfig
from pneumoscope.configs import shipped_config
from pneumoscope.data.dataset import load_dataset
from pneumoscope.data.labelled import LabelledImages
from pneumoscope.data.locate import locate
from pneumoscope.evaluation.intervals import estimate_of
from pneumoscope.evaluation.metrics import roc_auc
from pneumoscope.files import write_json
from pneumoscope.provenance import provenance
from pneumoscope.reporting.style import CLASS_COLOURS, NEUTRAL, drawing, png_of, save_png
from pneumoscope.stress import read_radiographs
from pneumoscope.stress.battery import battery
from pneumoscope.stress.measuring import measure
from pneumoscope.stress.models import open_model
from pneumoscope.stress.running import run_battery
from pneumoscope.stress.stressed_model import USUAL_THRESHOLD
from pneumoscope.stress.verdict import verdict_on
from pneumoscope.study.experiments import EXPERIMENTS
from pneumoscope.training.allocator import keep_freed_memory
from pneumoscope.training.callbacks import Callbacks, SilentObserver
from pneumoscope.training.networks import InitialWeights, build_network
from pneumoscope.training.precision import resolve_precision
from pneumoscope.training.predict import class_probabilities
from pneumoscope.training.run_folder import RunFolder
from pneumoscope.training.single_run import SingleRun, train_run
from pneumoscope.types import Split

RESULTS = Path(__file__).resolve().parents[1] / "results"
WHY = "does the stress score rank networks as the test does"
STUDY = ("cnn_2_classes", "cnn_3_classes", "inception_v3", "stacked_cnn", "stacked_cnn_thawed")
SMALL = ("plain", "letters", "file", "chest", "chest-strong", "chest-standard", "chest-odd")
RANDOM, KERAS = "random", ", tf.keras"
# What the figure calls the recipes of other names than the study's; from `letters` to `chest-odd` each adds to the one before it.
SHORT = {
    "plain": "small network",
    "letters": "small, + letters on both classes",
    "file": "small, + storage at random",
    "chest": "small, + chests in one frame",
    "chest-odd": "small, + minority normals",
    "lungs": "small, lungs alone",
    "naive": "ImageNet, no augmentation",
}
# Draws of the bootstrap.
DRAWS = 2000


class Shown(SilentObserver):
    def epoch_done(self, result, epochs, waited):
        print(f"  {result.epoch}/{epochs} {result.films_per_second:.0f} images/s, right {result.val_accuracy:.3f}",
              file=sys.stderr, flush=True)  # fmt: skip


def recipes():
    """Name to configuration of every network that is trained here."""
    found = {}
    for name in SMALL:
        config = shipped_config(f"ablation/{name}")
        found[name] = replace(config, model=replace(config.model, architecture="nano", input_side=64))
    nano, plain = shipped_config("nano"), shipped_config("ablation/plain")
    found["lungs"] = replace(nano, model=replace(nano.model, input_side=64, mirrored=False))
    once = replace(plain.training, epochs=3, average=0.0)
    found["naive"] = replace(plain, augmentation=AugmentationConfig(), training=once)
    return {
        name: replace(config, name=name, split=SplitConfig(), detector=DetectorConfig())
        for name, config in found.items()
    }


def train_all(folder, seeds, only):
    """Run folders of the recipes, trained where they are not yet."""
    for seed in range(seeds):
        for name, config in recipes().items():
            run = RunFolder(folder / f"{name}-{seed}")
            if (only and name not in only) or run.is_finished:
                continue
            print(f"{name}, seed {seed}", file=sys.stderr, flush=True)
            seeded = replace(config, training=replace(config.training, seed=seed))
            resume = run.path.is_dir()
            train_run(SingleRun(seeded, locate(None), run.path), Callbacks(training=Shown()), resume)


def untrained():
    """Function of images, as a network of the study with random weights decides."""
    config = shipped_config("cnn_2_classes")
    torch.manual_seed(0)
    network = build_network(config, InitialWeights(None, None))

    def predict(images):
        data = LabelledImages(images, np.arange(len(images)), np.zeros(len(images), dtype=np.int64))
        return class_probabilities(network, data, resolve_precision("fp32"))[:, 1]

    return predict


def shipped_on_test(name):
    """Probabilities on the test images and labels, as the evaluation of a shipped bundle wrote them: it does not read them again."""
    with (RESULTS / "detector" / name / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    probability = np.array([1 - float(row["probability_normal"]) for row in rows])
    return probability, np.array([row["label"] != "normal" for row in rows])


def on_test(probability, positive):
    """Figures of the test images."""
    return {
        "test": roc_auc(probability, positive),
        "test_accuracy": float(((probability >= 0.5) == positive).mean()),
    }


def found_by(name, predict, validation, tested, trials, folder):
    """What both validations and the test say of a network; `tested` gives its figures on the test images."""
    if (
        roc_auc(predict(validation.images), validation.positive) < 0.5
    ):  # which of its two outputs is which, for a random one
        straight = predict
        predict = lambda images: 1 - straight(images)  # noqa: E731
    predictions = run_battery(predict, validation, trials, folder, name)
    measures = measure(validation, trials, predictions, USUAL_THRESHOLD)
    verdict = verdict_on(measures)
    return {
        "name": name,
        "usual": measures.plain.auc.value,
        "stress": measures.within.value,
        "usual_accuracy": measures.plain.accuracy.value,
        "reads": verdict.reads,
        "also": list(verdict.also),
        "reliance": {each: found.difference.value for each, found in measures.reliance.items()},
    } | tested(predict)


def made_once(trials):
    """Trials whose images are kept, since every network is shown the same."""

    def keeping(trial):
        kept = {}

        def alter(radiographs, position, rng):
            if position not in kept:
                kept[position] = trial.alter(radiographs, position, rng)
            return kept[position]

        return replace(trial, alter=alter)

    return tuple(map(keeping, trials))


def independent(recipe):
    """Recipe that a network counts as in the bootstrap: `best` holds the network of `default`, and tf.keras trains the study's."""
    return recipe.removesuffix(KERAS).replace("bundle best", "bundle default")


def correlations(networks):
    """Rank correlations of either validation with the test, and the difference; 95 % intervals by a bootstrap over recipes."""
    drawn_as_one = [independent(n["recipe"]) for n in networks]
    groups = [
        [n for n, other in zip(networks, drawn_as_one, strict=True) if other == each]
        for each in sorted(set(drawn_as_one))
    ]

    def of(chosen):
        usual, stress, test = (np.array([n[key] for n in chosen]) for key in ("usual", "stress", "test"))
        by_usual, by_stress = (spearmanr(each, test).statistic for each in (usual, stress))
        return by_usual, by_stress, by_stress - by_usual

    rng = np.random.default_rng(0)
    drawn = [of([n for i in rng.integers(0, len(groups), len(groups)) for n in groups[i]]) for _ in range(DRAWS)]
    low, high = np.nanpercentile(drawn, (2.5, 97.5), axis=0)
    values = zip(("usual", "stress", "difference"), of(networks), low, high, strict=True)
    return {name: {"value": float(v), "low": float(a), "high": float(b)} for name, v, a, b in values}


def colour(recipe):
    """Colour of the study's recipes, by either library, and of the detectors'."""
    return CLASS_COLOURS["bacterial" if recipe.removesuffix(KERAS) in STUDY else "normal"]


def in_words(recipe):
    """Recipe as the figure names it."""
    name, comma, library = recipe.partition(", ")
    titles = {each.name: f"study: {each.title}" for each in EXPERIMENTS} | SHORT
    return f"{titles.get(name, name)}{comma}{library}"


def spread(values, gap):
    """Values in their order, moved apart until none is nearer to the next than `gap`, their mean kept."""
    order = np.argsort(values)
    at = np.array(values, dtype=float)[order]
    for _ in range(500):
        lacking = np.maximum(gap - np.diff(at), 0) / 2
        at[:-1] -= lacking
        at[1:] += lacking
    moved = np.empty_like(at)
    moved[order] = at
    return moved


def draw(networks, found):
    """Every trained network a dot, with the letter of its recipe beside the axes; the usual validation on the left, the stress score on the right."""
    networks = sorted(networks, key=lambda n: -n["test"])
    letters = dict(zip(dict.fromkeys(n["recipe"] for n in networks), ascii_uppercase, strict=False))
    panels = (
        ("usual", "usual validation: AUC on images of other patients"),
        ("stress", "stress score: AUC within clusters, stored alike"),
    )
    tests = [n["test"] for n in networks]
    low, high = min(tests), max(tests)
    beside = spread(tests, 0.062 * (high - low))
    with drawing(12.5, 5.6, False) as figure:
        *both, key = figure.subplots(1, 3, width_ratios=(1, 1, 0.5))
        for axes, (name, words) in zip(both, panels, strict=True):
            values = [n[name] for n in networks]
            right = max(values) + 0.09 * (max(values) - min(values))
            for network, at in zip(networks, beside, strict=True):
                kind = colour(network["recipe"])
                axes.plot([network[name], right], [network["test"], at], color=kind, linewidth=0.6, alpha=0.5)
                axes.plot(network[name], network["test"], "o", color=kind, markersize=6)
                axes.text(
                    right, at, f" {letters[network['recipe']]}", color=kind, weight="bold", va="center", fontsize=9
                )
            axes.set(
                xlabel=words,
                xlim=(min(values) - 0.06 * (max(values) - min(values)), right + 0.06 * (max(values) - min(values))),
                ylim=(min(low, beside.min()) - 0.04 * (high - low), max(high, beside.max()) + 0.04 * (high - low)),
                title=f"rank correlation with the test {estimate_of(found[name]).as_number(2)}",
            )
            axes.set_yticks([tick for tick in axes.get_yticks() if low - 0.02 < tick <= 1])  # no AUC is above 1
            axes.grid(alpha=0.25)
        both[0].set_ylabel("AUC on the official test images")
        key.axis("off")
        for row, (recipe, letter) in enumerate(letters.items()):
            kind = colour(recipe)
            key.text(0, 0.98 - 0.058 * row, letter, weight="bold", color=kind, va="top")
            key.text(0.12, 0.98 - 0.058 * row, in_words(recipe), color=NEUTRAL, va="top", fontsize=10)
    return figure


def images_of(split_or_paths, source):
    """Radiographs of the test split, or those of some paths."""
    if isinstance(split_or_paths, Split):
        return read_radiographs(source, split_or_paths)
    return read_radiographs(source.only(split_or_paths), None)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, default=Path("runs/study"))
    parser.add_argument("--runs", type=Path, default=Path("runs/ranking"))
    parser.add_argument("--keras", type=Path, help="folder of NAME.keras files; needs TensorFlow in the environment")
    parser.add_argument("--shipped", action="store_true", help="the shipped bundles too")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", type=lambda text: text.split(","), default=[])
    parser.add_argument("--train-only", action="store_true")
    parser.add_argument(
        "--again",
        action="store_true",
        help="measure those of the record too, from stored predictions where there are any; their test figures stay",
    )
    parser.add_argument("--draw", action="store_true", help="the figure alone, from what is written already")
    parser.add_argument("--ledger", type=Path, default=Path("results/test-ledger.jsonl"))
    parser.add_argument("--figure", type=Path, default=Path("docs/figures/ranking.png"))
    parser.add_argument("--out", type=Path, default=Path("results/robustness/ranking.json"))
    options = parser.parse_args()
    record = json.loads(options.out.read_text()) if options.out.exists() else {"networks": []}
    if options.draw:
        save_png(
            png_of(draw([n for n in record["networks"] if n["recipe"] != RANDOM], record["correlations"])),
            options.figure,
        )
        return
    keep_freed_memory()
    train_all(options.runs, options.seeds, options.only)
    if options.train_only:
        return
    made = provenance("experiments/ranking.py")
    source = locate(None).open()
    dataset = load_dataset(locate(None), Preprocessing(), SplitConfig(), paths.images_directory())
    held_out = [dataset.index.rows[i].path for i in dataset.positions(Split.VALIDATION)]
    validation, test = images_of(held_out, source), images_of(Split.TEST, source)
    trials = made_once(battery(corrupted=0))
    before = {network["name"]: network for network in record["networks"]}
    for name, recipe, folder in networks_at(options.study, options.runs, options.shipped, options.keras):
        known = before.get(name)
        if known is None or options.again:
            kept = {key: known[key] for key in ("test", "test_accuracy")} if known else None
            if folder in SHIPPED:
                kept = on_test(*shipped_on_test(folder))
            tested = lambda predict: kept or on_test(predict(test.images), test.positive)  # noqa: E731
            with opened(folder) as predict:
                found = found_by(name, predict, validation, tested, trials, options.runs / "predictions" / name)
            before[name] = found | {"recipe": recipe, "commit": made["commit"], "date": made["date"]}
            if kept is None:
                append_to_ledger(
                    options.ledger,
                    commit=made["commit"],
                    model=name,
                    split_hash=dataset.split.hash,
                    radiographs=len(test),
                    why=WHY,
                    result={"accuracy": round(found["test_accuracy"], 4), "auc": round(found["test"], 4)},
                )
            print(before[name], file=sys.stderr, flush=True)
        networks = list(before.values())
        compared = [n for n in networks if n["recipe"] != RANDOM]
        if len(compared) > 3:
            told = {
                "validation_images": len(validation),
                "test_images": len(test),
                "correlations": correlations(compared),
            }
            write_json(options.out, {"why": WHY, **told, "networks": networks} | made)
    save_png(png_of(draw(compared, correlations(compared))), options.figure)


@contextmanager
def opened(folder):
    """Function of images of a run or a model file, of the random network where there is none."""
    if folder is None:
        yield untrained()
        return
    with open_model(str(folder), trust=True) as model:
        yield model.predict


def finished(folders):
    return [folder for folder in sorted(folders) if RunFolder(folder).is_finished]


def networks_at(study, runs, shipped, keras):
    """Name, recipe and run folder or file of every network."""
    yield RANDOM, RANDOM, None
    for recipe in STUDY:
        for folder in finished((study / "runs" / recipe).glob("seed-*")):
            yield f"{recipe}, seed {folder.name.removeprefix('seed-')}", recipe, folder
    for recipe in recipes():
        for folder in finished(runs.glob(f"{recipe}-[0-9]")):
            yield f"{recipe}, seed {folder.name.rpartition('-')[2]}", recipe, folder
    for bundle in SHIPPED if shipped else ():
        yield f"bundle {bundle}", f"bundle {bundle}", bundle
    for file in sorted(keras.glob("*.keras")) if keras else ():
        yield file.stem + KERAS, file.stem + KERAS, file


if __name__ == "__main__":
    main()
