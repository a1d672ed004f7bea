"""Why a model reads the test images worse than the slides: its accuracy on them after every epoch; writes JSON.

    .venv/bin/python experiments/epochs_on_test.py cnn_2_classes [--epochs 10] [--seeds 3] [--out FILE]

An explanation, never a choice: nothing of the study is decided by it, and every look is in the ledger. For each epoch it
also says what a threshold fitted on the validation images would give, and what the best one on the test images would: the
first tells how much of the gap is the operating point, the second how much is left to the ranking.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from pneumoscope.training.allocator import keep_freed_memory

keep_freed_memory()

import numpy as np  # noqa: E402

from pneumoscope import paths  # noqa: E402
from pneumoscope.assessment.ledger import append_to_ledger  # noqa: E402
from pneumoscope.config import Preprocessing, SplitConfig  # noqa: E402
from pneumoscope.data.dataset import load_dataset  # noqa: E402
from pneumoscope.data.labelled import labelled_images  # noqa: E402
from pneumoscope.data.locate import locate  # noqa: E402
from pneumoscope.decision import pneumonia_probability  # noqa: E402
from pneumoscope.evaluation.metrics import compute_metrics, roc_auc  # noqa: E402
from pneumoscope.evaluation.thresholds import best_operating_point  # noqa: E402
from pneumoscope.files import write_json  # noqa: E402
from pneumoscope.provenance import provenance  # noqa: E402
from pneumoscope.study.experiments import experiment  # noqa: E402
from pneumoscope.training.callbacks import SilentObserver  # noqa: E402
from pneumoscope.training.loop import train  # noqa: E402
from pneumoscope.training.networks import InitialWeights, build_network, load_network  # noqa: E402
from pneumoscope.training.precision import resolve_precision  # noqa: E402
from pneumoscope.training.predict import class_probabilities  # noqa: E402
from pneumoscope.training.run_folder import RunFolder  # noqa: E402
from pneumoscope.types import SCHEMES, Split  # noqa: E402

WHY = "explains the gap to the slides epoch by epoch; nothing is chosen by it"


def look(model, dataset, classes, precision):
    """What the network answers on validation and test now."""
    told = {}
    for split in (Split.VALIDATION, Split.TEST):
        data = labelled_images(dataset, split, classes)
        probability = class_probabilities(model, data, precision)
        told[split] = (probability, data.labels)
    weight = np.ones((1, len(told[Split.TEST][1])))
    plain = {
        name: float(v[0]) for name, v in compute_metrics(*told[Split.TEST], SCHEMES[classes].names, weight).items()
    }
    score = {split: pneumonia_probability(probability) for split, (probability, _) in told.items()}
    positive = {split: label > 0 for split, (_, label) in told.items()}
    fitted = best_operating_point(score[Split.VALIDATION], positive[Split.VALIDATION]).threshold
    return {
        "test": {n: plain[n] for n in ("accuracy", "sensitivity", "specificity", "auc")},
        "validation_auc": roc_auc(score[Split.VALIDATION], positive[Split.VALIDATION]),
        "binary_accuracy_at_the_validation_threshold": float(
            ((score[Split.TEST] >= fitted) == positive[Split.TEST]).mean()
        ),
        "binary_accuracy_at_the_best_test_threshold": best_operating_point(
            score[Split.TEST], positive[Split.TEST]
        ).accuracy,
    }


def follow(entry, seed, epochs, dataset, base, folder):
    """Trains one epoch more at a time, from the checkpoint, and looks after each."""
    run = RunFolder(folder)
    config = entry.config.with_training(seed=seed, patience=100_000)
    classes = config.model.classes
    data = [labelled_images(dataset, split, classes) for split in (Split.TRAIN, Split.VALIDATION)]
    model = build_network(config, InitialWeights(base))
    clusters = []
    for epoch in range(1, epochs + 1):
        step = config.with_training(epochs=epoch)
        if run.checkpoint.exists():
            reopen(run)
        state = train(model, *data, step, run, folder / "features", SilentObserver())
        clusters.append(
            {"epoch": epoch, "val_loss": state.history[-1].val_loss}
            | look(model, dataset, classes, resolve_precision("auto"))
        )
        print(entry.name, seed, clusters[-1], file=sys.stderr, flush=True)
    return config, clusters


def reopen(run):
    """Lets a training go on that had come to its last epoch."""
    from pneumoscope.training.checkpoint import load_checkpoint, save_checkpoint

    weights, optimiser, state = load_checkpoint(run.checkpoint)
    state.stopped = False
    save_checkpoint(run.checkpoint, weights, optimiser, state)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--study", type=Path, default=Path("runs/study"), help="for what model 4 builds on")
    parser.add_argument("--ledger", type=Path, default=Path("results/test-ledger.jsonl"))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    entry = experiment(options.experiment)
    dataset = load_dataset(locate(None).root, Preprocessing(), SplitConfig(), paths.images_directory())
    record = {"experiment": entry.name, "why": WHY, "split_hash": dataset.split.hash, "seeds": {}}
    made = provenance("experiments/epochs_on_test.py")
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.seeds):
            base = RunFolder(options.study / "runs" / entry.builds_on / f"seed-{seed}") if entry.builds_on else None
            if base is not None:
                load_network(base)  # says at once where the study is missing
            config, clusters = follow(entry, seed, options.epochs, dataset, base, Path(folder) / str(seed))
            record["seeds"][str(seed)] = clusters
            for told in clusters:
                append_to_ledger(
                    options.ledger,
                    commit=made["commit"],
                    model=f"{entry.name}, seed {seed}, epoch {told['epoch']}",
                    config_hash=config.hash,
                    split_hash=dataset.split.hash,
                    films=len(dataset.positions(Split.TEST)),
                    why=WHY,
                    result={name: round(value, 4) for name, value in told["test"].items()},
                )
    write_json(options.out or Path(f"results/experiments/epochs_on_test_{entry.name}.json"), record | made)


if __name__ == "__main__":
    main()
