"""Ours beside tensorflow-cpu and the slides' code path: the same images and split, run in turn; writes JSON.

    .venv/bin/python benchmarks/against_keras.py [--rounds 3] [--images 1200] [--whole-study 1] [--out FILE]

Per model both sides train a few epochs in a process of their own; the first epoch of each (tracing, first touch of the
memory) is left out of the rate. The whole study runs all four models one after the other, each for the number of epochs
at which early stopping ended it in results/study, in one process a side, start-up included.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from pneumoscope import paths
from pneumoscope.config import Preprocessing, SplitConfig
from pneumoscope.data.dataset import load_dataset
from pneumoscope.data.locate import locate
from pneumoscope.files import write_json
from pneumoscope.provenance import provenance
from pneumoscope.types import BINARY, THREE_CLASS, Split

HERE = Path(__file__).resolve().parent
MODELS = ("cnn_2_classes", "cnn_3_classes", "inception_v3", "stacked_cnn")
STUDY = HERE.parent / "results" / "study" / "comparison.json"


def keras_python(folder):
    """The interpreter of an environment with tensorflow-cpu, made on first use."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "tensorflow-cpu"], check=True)
    return python


def export(limit, file):
    """Writes the images of train and validation with their classes, for both sides."""
    dataset = load_dataset(replace(locate(None), limit=limit), Preprocessing(), SplitConfig(), paths.images_directory())
    arrays = {}
    for split in (Split.TRAIN, Split.VALIDATION):
        positions = dataset.positions(split)
        arrays[f"{split}_films"] = dataset.images[positions]
        arrays[f"{split}_label"] = dataset.labels(THREE_CLASS, positions)
        arrays[f"{split}_finding"] = dataset.labels(BINARY, positions)
    np.savez(file, **arrays)
    return len(arrays["train_films"]), len(arrays["validation_films"])


def run(python, script, *arguments):
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    command = [python, HERE / script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{script} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "values": values}


def rate(record, model, images):
    return images / statistics.median(record["models"][model]["seconds_per_epoch"][1:])


def epochs_of_the_study():
    study = json.loads(STUDY.read_text())
    return {m["name"]: round(statistics.median(r["epochs"] for r in m["runs"])) for m in study["models"]}


def compare_models(splits, images, count, rounds, epochs):
    told = {}
    for model in MODELS:
        records = {"ours": [], "keras": []}
        for number in range(rounds):
            order = ("ours", "keras") if number % 2 == 0 else ("keras", "ours")
            for split in order:
                records[split].append(splits[split](images, f"{model}:{epochs}"))
                print(model, split, f"{rate(records[split][-1], model, count):.0f} img/s", file=sys.stderr, flush=True)
        pairs = list(zip(records["ours"], records["keras"], strict=True))
        told[model] = {
            "images_per_second": {s: spread([rate(r, model, count) for r in records[s]]) for s in records},
            "ratio": spread([rate(o, model, count) / rate(k, model, count) for o, k in pairs]),
            "seconds_with_setup": {s: spread([r["models"][model]["seconds"] for r in records[s]]) for s in records},
            "peak_memory_mb": {s: spread([r["peak_memory_mb"] for r in records[s]]) for s in records},
            "startup_seconds": {s: spread([r["startup_seconds"] for r in records[s]]) for s in records},
            "epochs": epochs,
        }
        told["versions"] = {s: records[s][0]["versions"] for s in records}
    return told


def compare_studies(splits, images, rounds):
    epochs = epochs_of_the_study()
    plan = ",".join(f"{model}:{epochs[model]}" for model in MODELS)
    records = {"ours": [], "keras": []}
    for number in range(rounds):
        for split in ("ours", "keras") if number % 2 == 0 else ("keras", "ours"):
            records[split].append(splits[split](images, plan))
            print("whole study", split, f"{records[split][-1]['seconds']:.0f} s", file=sys.stderr, flush=True)
    pairs = list(zip(records["ours"], records["keras"], strict=True))
    return {
        "epochs": epochs,
        "seconds": {s: spread([r["seconds"] for r in records[s]]) for s in records},
        "ratio": spread([k["seconds"] / o["seconds"] for o, k in pairs]),
        "seconds_per_model": {
            s: {m: spread([r["models"][m]["seconds"] for r in records[s]]) for m in MODELS} for s in records
        },
        "ratio_per_model": {
            m: spread([k["models"][m]["seconds"] / o["models"][m]["seconds"] for o, k in pairs]) for m in MODELS
        },
        "peak_memory_mb": {s: spread([r["peak_memory_mb"] for r in records[s]]) for s in records},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=1200, help="films in all; 0 for every one")
    parser.add_argument("--epochs", type=int, default=3, help="of a model's rate; the first is left out")
    parser.add_argument("--whole-study", type=int, default=0, help="rounds of the whole study")
    parser.add_argument("--keras-environment", type=Path, default=paths.cache_directory() / "keras-environment")
    parser.add_argument("--out", type=Path, default=Path("results/speed/against_keras.json"))
    options = parser.parse_args()
    weights = paths.inception_weights_from_environment()
    ours = sys.executable
    theirs = keras_python(options.keras_environment)
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "films.npz"
        count, held = export(options.images or None, images)
        splits = {
            "ours": lambda *words: run(ours, "our_side.py", *words, *([weights] if weights else [])),
            "keras": lambda *words: run(theirs, "keras_side.py", *words),
        }
        record = {"training_films": count, "validation_films": held, "rounds": options.rounds}
        if options.rounds:
            record |= {"models": compare_models(splits, images, count, options.rounds, options.epochs)}
            record["versions"] = record["models"].pop("versions")
        if options.whole_study:
            record["whole_study"] = compare_studies(splits, images, options.whole_study)
    made = provenance("benchmarks/against_keras.py")
    write_json(options.out, record | made)
    print(options.out)


if __name__ == "__main__":
    main()
