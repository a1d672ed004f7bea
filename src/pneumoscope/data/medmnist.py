"""MedMNIST's form of a data set: one npz file with the images and labels of train, val and test."""

from pathlib import Path
from typing import Any

import numpy as np

from pneumoscope.data.dataset import Dataset
from pneumoscope.errors import ConfigError
from pneumoscope.files import atomic_write
from pneumoscope.types import BINARY, Split

# Sizes in which MedMNIST+ is published; its package opens no others.
SIDES = (28, 64, 128, 224)
_PARTS = {"train": Split.TRAIN, "val": Split.VALIDATION, "test": Split.TEST}


def save_medmnist(dataset: Dataset, path: Path | str) -> Path:
    """Write a data set as MedMNIST publishes PneumoniaMNIST, atomically.

    The file has `train_images`, (n, side, side) uint8, and `train_labels`, (n, 1) uint8, 0 for normal and 1 for pneumonia, and these
    of `val` and `test`. MedMNIST has no patients; `train_patients` and so on, (n,) str, are added, which its readers do not look at.

    Args:
        dataset: Data set from `load_dataset`, with square images of a side of 28, 64, 128 or 224 pixels.
        path: File to write, with the ending .npz. MedMNIST's package finds `pneumoniamnist.npz` at a side of 28, and
            `pneumoniamnist_64.npz` and so on.

    Returns:
        `path`.

    Raises:
        ConfigError: Images of another size, or another ending.
    """
    path = Path(path)
    check_form(path, *dataset.images.shape[1:])
    arrays: dict[str, Any] = {}
    for part, split in _PARTS.items():
        positions = dataset.split.positions(split)
        arrays[f"{part}_images"] = np.asarray(dataset.images[positions])
        arrays[f"{part}_labels"] = dataset.labels(BINARY, positions).astype(np.uint8)[:, None]
        arrays[f"{part}_patients"] = np.array(dataset.patients(positions), dtype=np.str_)
    with atomic_write(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)
    return path


def check_form(path: Path, height: int, width: int) -> None:
    """Check that a file of such images is one of MedMNIST's.

    Raises:
        ConfigError: Another ending, or images of another size.
    """
    if path.suffix != ".npz":
        raise ConfigError(f"expected a file with the ending .npz, found {path}: rename it")
    if height != width or height not in SIDES:
        raise ConfigError(
            f"expected square images of {', '.join(map(str, SIDES[:-1]))} or {SIDES[-1]} pixels, found {height} x {width}: "
            "MedMNIST has no others"
        )
