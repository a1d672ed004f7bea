"""The study's four networks as bundles: how ONNX Runtime's answers differ from PyTorch's, and what their input guards let pass.

    .venv/bin/python experiments/exported.py RUNS --foreign FOLDER

RUNS holds NAME.zip for each, as `pneumoscope train NAME` and `pneumoscope bundle export` make them; FOLDER holds folders of
images that are no chest images. Chest images are those that watched the training. No test image is looked at.
"""

import argparse
from pathlib import Path

from pneumoscope.config import Preprocessing, SplitConfig
from pneumoscope.data.dataset import load_dataset
from pneumoscope.data.locate import locate
from pneumoscope.files import write_json
from pneumoscope.inference.detector import load_detector
from pneumoscope.paths import images_directory
from pneumoscope.provenance import provenance
from pneumoscope.types import Decision, Split

NAMES = ("cnn_2_classes", "cnn_3_classes", "inception_v3", "stacked_cnn")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--foreign", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("results/robustness/exported.json"))
    options = parser.parse_args()
    dataset = load_dataset(locate(None).root, Preprocessing(), SplitConfig(), images_directory(), lambda *told: None)
    watched = [dataset.images[i] for i in dataset.positions(Split.VALIDATION)]
    foreign = sorted(map(str, options.foreign.rglob("*.jpeg")))
    told = {}
    for name in NAMES:
        detector = load_detector(options.runs / f"{name}.zip")
        passed = sum(p.decision is not Decision.REJECTED for p in detector.predict_many(foreign))
        rejected = sum(p.decision is Decision.REJECTED for p in detector.predict_many(watched))
        told[name] = {
            "megabytes": (options.runs / f"{name}.zip").stat().st_size / 1e6,
            "largest_difference_of_onnx": detector.bundle.manifest.training["largest_difference_of_onnx"],
            "golden_difference": detector.verify(),
            "foreign": len(foreign),
            "foreign_passed": passed,
            "watched": len(watched),
            "watched_rejected": rejected,
        }
        print(name, told[name], flush=True)
    write_json(options.out, {"networks": told} | provenance("experiments/exported.py"))


if __name__ == "__main__":
    main()
