"""How much a detector's test results move with the seed: its final network, trained with several, judged by its bundle's rule.

    .venv/bin/python experiments/seeds_on_test.py runs/detector [--seeds 5] [--out results/detector/seeds-NAME.json]

RUN is that of `pneumoscope train configs/...`; seeds that it lacks are trained into its `final/` first. Each network alone
gets calibration and operating point of the bundle. Nothing is chosen by it, and every look is in the ledger.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from pneumoscope.training.allocator import keep_freed_memory

keep_freed_memory()

import numpy as np  # noqa: E402

from pneumoscope import paths  # noqa: E402
from pneumoscope.assessment.ledger import append_to_ledger  # noqa: E402
from pneumoscope.bundle import load_bundle  # noqa: E402
from pneumoscope.config import DetectorConfig, SplitConfig  # noqa: E402
from pneumoscope.data.dataset import load_dataset  # noqa: E402
from pneumoscope.data.labelled import labelled_images  # noqa: E402
from pneumoscope.data.locate import locate  # noqa: E402
from pneumoscope.decision import logits_of  # noqa: E402
from pneumoscope.detector_training.cross_fitting import train_member  # noqa: E402
from pneumoscope.evaluation.metrics import compute_metrics  # noqa: E402
from pneumoscope.files import write_json  # noqa: E402
from pneumoscope.provenance import provenance  # noqa: E402
from pneumoscope.training.callbacks import Callbacks  # noqa: E402
from pneumoscope.training.precision import resolve_precision  # noqa: E402
from pneumoscope.training.predict import class_probabilities  # noqa: E402
from pneumoscope.training.run_folder import RunFolder  # noqa: E402
from pneumoscope.types import Split  # noqa: E402

WHY = "spread over training seeds; nothing is chosen by it"
SHOWN = ("binary_accuracy", "sensitivity", "specificity", "auc", "accuracy", "recall_viral", "auc_viral_vs_bacterial")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--ledger", type=Path, default=Path("results/test-ledger.jsonl"))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    config = RunFolder(options.run).config()
    if config.detector.ensemble:
        raise SystemExit(
            f"expected the run of one configuration, found the ensemble {options.run}: name a member's run"
        )
    alone = replace(config, detector=DetectorConfig(), split=SplitConfig())
    manifest = load_bundle(options.run / "bundle.zip").manifest
    dataset = load_dataset(locate(None).root, config.preprocessing, alone.split, paths.images_directory())
    data = labelled_images(dataset, Split.TEST, config.model.classes)
    made = provenance("experiments/seeds_on_test.py")
    found = {}
    for seed in range(options.seeds):
        model = train_member(alone.with_training(seed=seed), dataset, options.run / "final", Callbacks())
        answered = class_probabilities(model, data, resolve_precision(config.training.precision))
        probability = manifest.calibration.probabilities(logits_of(answered))
        threshold = manifest.operating_points["balanced"].threshold
        one = np.ones((1, len(data.labels)))
        told = compute_metrics(probability, data.labels, manifest.classes, one, threshold)
        found[str(seed)] = {name: float(told[name][0]) for name in SHOWN}
        append_to_ledger(
            options.ledger,
            commit=made["commit"],
            model=f"{manifest.name} {manifest.version}, its network of seed {seed} alone",
            config_hash=alone.with_training(seed=seed).hash,
            split_hash=dataset.split.hash,
            films=len(data.labels),
            why=WHY,
            result={name: round(value, 4) for name, value in found[str(seed)].items()},
        )
        print(seed, found[str(seed)], file=sys.stderr, flush=True)
    values = {name: [told[name] for told in found.values()] for name in SHOWN}
    spread = {n: {"mean": float(np.mean(v)), "standard_deviation": float(np.std(v, ddof=1))} for n, v in values.items()}
    out = options.out or Path(f"results/detector/seeds-{manifest.name}.json")
    write_json(out, {"detector": manifest.name, "why": WHY, "seeds": found, "over_seeds": spread} | made)


if __name__ == "__main__":
    main()
