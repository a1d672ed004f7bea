"""Trains small networks as one rank of several, for test_distributed.py: `python distributed_script.py FOLDER PROCESSES [fp64] [NAME ...]`."""

import json
import sys
from pathlib import Path

import torch
from test_loop import images

from pneumoscope.config import AugmentationConfig, ModelConfig, RunConfig, TrainingConfig
from pneumoscope.models.registry import build_model
from pneumoscope.training import distributed, precision
from pneumoscope.training.callbacks import SilentObserver
from pneumoscope.training.loop import train
from pneumoscope.training.run_folder import RunFolder

SIDE = 48
# 73 images in batches of 8: the last batch has one, fewer than there are processes.
IMAGES, BATCH, EPOCHS = 73, 8, 5
CNN = ModelConfig("cnn", 3)
NANO = ModelConfig("nano", 3, freeze_base=False, dropout=0.2, stochastic_depth=0.3, style_mixing=0.7, mirrored=True)
ADAMW = {
    "epochs": 1,
    "optimiser": "adamw",
    "weight_decay": 0.01,
    "average": 0.9,
    "learning_rate": 1e-3,
    "label_smoothing": 0.1,
}
TRAININGS = {
    "cnn": (CNN, {}, AugmentationConfig()),
    "cnn balanced": (CNN, {"balance": True, "label_smoothing": 0.1, "accumulate": 3}, AugmentationConfig()),
    "cnn 2 accumulated": (CNN, {"accumulate": 2}, AugmentationConfig()),
    "bf16": (CNN, {"precision": "bf16"}, AugmentationConfig()),
    "bf16 2 accumulated": (CNN, {"precision": "bf16", "accumulate": 2}, AugmentationConfig()),
    "nano 2 accumulated": (NANO, ADAMW | {"accumulate": 2}, AugmentationConfig(rotation_degrees=5)),
    "frozen": (ModelConfig("stacked_cnn", 3), {}, AugmentationConfig()),
}


class Steps(SilentObserver):
    def __init__(self):
        self.losses = []

    def advance(self, parts, loss=None):
        if loss is not None:
            self.losses.append(loss)


def main(folder, processes, names):
    if "fp64" in names:
        # Rounding errors are small then: a larger deviation is a difference.
        names.remove("fp64")
        precision._FABRIC_NAMES["fp32"], torch.Tensor.float = "64-true", torch.Tensor.double
    torch.set_num_threads(1)
    distributed.launch(processes)
    record = {}
    for name in names:
        model, changes, augmentation = TRAININGS[name]
        settings = {"epochs": EPOCHS, "batch_size": BATCH, "patience": 100, "precision": "fp32"} | changes
        config = RunConfig("test", model, augmentation=augmentation, training=TrainingConfig(**settings))
        side = 190 if name == "frozen" else SIDE
        run = RunFolder(folder / name)
        distributed.on_first_rank(
            lambda run=run, config=config: run.start(config, {}, (run.path / "config.json").exists())
        )
        network, observer = build_model(model, seed=0, height=side, width=side), Steps()
        state = train(
            network, images(IMAGES, 0, side), images(13, 1, side), config, run, run.path / "features", observer
        )
        record[name] = {"steps": observer.losses, "validation": [epoch.val_loss for epoch in state.history]}
    if distributed.is_first_rank():
        (folder / "record.json").write_text(json.dumps(record))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
