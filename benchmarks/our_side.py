"""The same trainings as keras_side.py by pneumoscope.

python our_side.py FILMS.npz PLAN [INCEPTION.h5]     prints JSON
"""

import sys
import tempfile
import time

STARTED = time.perf_counter()

from pneumoscope.training.allocator import keep_freed_memory  # noqa: E402

keep_freed_memory()

from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
from side_report import print_report  # noqa: E402

from pneumoscope.data.labelled import LabelledImages  # noqa: E402
from pneumoscope.models.weights import WeightFile  # noqa: E402
from pneumoscope.study.experiments import experiment  # noqa: E402
from pneumoscope.training.callbacks import SilentObserver  # noqa: E402
from pneumoscope.training.loop import train  # noqa: E402
from pneumoscope.training.networks import InitialWeights, build_network  # noqa: E402
from pneumoscope.training.precision import resolve_precision  # noqa: E402
from pneumoscope.training.run_folder import RunFolder  # noqa: E402


class Clock(SilentObserver):
    def __init__(self):
        self.seconds = []
        self.first_step = None

    def advance(self, parts, loss=None):
        if self.first_step is None and loss is not None:
            self.first_step = time.perf_counter()

    def epoch_done(self, result, epochs, waited):
        self.seconds.append(result.seconds)


def main():
    images = np.load(sys.argv[1])
    plan = [item.split(":") for item in sys.argv[2].split(",")]
    inception = WeightFile(Path(sys.argv[3]), "0", "benchmark") if len(sys.argv) > 3 else None
    records, trained, first_step = {}, None, None
    with tempfile.TemporaryDirectory() as folder:
        for name, epochs in plan:
            config = experiment(name).config.with_training(epochs=int(epochs), patience=100_000)
            key = "finding" if config.model.classes == 2 else "label"
            data = [
                LabelledImages(
                    images[f"{split}_films"], np.arange(len(images[f"{split}_films"])), images[f"{split}_{key}"]
                )
                for split in ("train", "validation")
            ]
            began = time.perf_counter()
            run = RunFolder(Path(folder) / name)
            run.start(config, {"split_hash": "benchmark", "weights": {}}, resume=False)
            base = trained if name == "stacked_cnn" else None
            model = build_network(config, InitialWeights(base, inception if name == "inception_v3" else None))
            clock = Clock()
            train(model, *data, config, run, Path(folder) / "features", clock)
            for file in (Path(folder) / "features").glob("*"):
                file.unlink()
            first_step = first_step or clock.first_step
            trained = run if name == "cnn_3_classes" else trained
            records[name] = {"seconds_per_epoch": clock.seconds, "seconds": time.perf_counter() - began}
    print_report(records, STARTED, first_step, {"torch": torch.__version__, "precision": resolve_precision("auto")})


main()
