"""Features of a frozen base: the same in every epoch, so computed once per image and flip and stored on disk."""

import copy
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pneumoscope.data.labelled import LabelledImages
from pneumoscope.files import atomic_write, file_lock, sha256_of_file, write_json
from pneumoscope.models.classifier import ImageClassifier
from pneumoscope.models.inception import InceptionV3
from pneumoscope.training import distributed
from pneumoscope.training.batches import ImageInputs, as_network_input
from pneumoscope.training.callbacks import Observer

# Large enough to keep the cores busy, small enough that Ctrl-C waits for less than a second.
_BATCH = 32


class FrozenBase:
    """Copy of a network's frozen base for inference: normalisation folded into the convolutions, no gradients.

    Attributes:
        dtype: Data type of the matrix products and of the features.
    """

    def __init__(self, model: ImageClassifier, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._base = copy.deepcopy(model.base).eval()
        if isinstance(self._base, InceptionV3):
            self._base.fold()
        self._base.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.no_grad()
    def __call__(self, images: NDArray[np.uint8]) -> Tensor:
        """Features (n, channels, height, width), channels last, of images (n, height, width) uint8."""
        features: Tensor = self._base(as_network_input(images).to(self.dtype))
        return features

    def hash(self) -> str:
        """SHA-256 of the weights, 64 hex digits."""
        digest = hashlib.sha256(str(self.dtype).encode())
        for tensor in self._base.state_dict().values():
            digest.update(tensor.flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()


class ComputedFeatures:
    """Features of a frozen base, computed at every access."""

    def __init__(self, base: FrozenBase, data: LabelledImages) -> None:
        self._base = base
        self._images = ImageInputs(data)
        self.labels = data.labels

    def __len__(self) -> int:
        return len(self._images)

    def take(self, chosen: NDArray[np.int64], flipped: NDArray[np.bool_]) -> Tensor:
        """Features (n, channels, height, width) of chosen images, channels last, in the base's dtype."""
        return self._base(self._images.take_grey(chosen, flipped))


class FeatureInputs:
    """Features of a frozen base, read from a file at every access.

    The file is read, not memory-mapped: the operating system's cache makes both equally fast, and mapped pages would count
    as memory of this process.
    """

    def __init__(
        self, file: Path, shape: tuple[int, ...], dtype: torch.dtype, flips: bool, labels: NDArray[np.int64]
    ) -> None:
        self._descriptor = os.open(file, os.O_RDONLY)
        self._shape = shape
        self._dtype = dtype
        self._variants = 2 if flips else 1
        self._row = int(np.prod(shape)) * dtype.itemsize
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, chosen: NDArray[np.int64], flipped: NDArray[np.bool_]) -> Tensor:
        """Features (n, channels, height, width) of chosen images, channels last, in the base's dtype."""
        raw = np.empty((len(chosen), self._row), dtype=np.uint8)
        for row, (image, mirrored) in enumerate(zip(chosen.tolist(), flipped.tolist(), strict=True)):
            offset = (image * self._variants + int(mirrored)) * self._row
            if os.preadv(self._descriptor, [raw[row].data], offset) != self._row:
                raise OSError(f"the feature file ends before image {image}")
        channels, height, width = self._shape
        maps = torch.from_numpy(raw).view(self._dtype).reshape(len(chosen), height, width, channels)
        return maps.permute(0, 3, 1, 2)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


@contextmanager
def frozen_features(
    base: FrozenBase, data: LabelledImages, flips: bool, folder: Path, name: str, observer: Observer
) -> Iterator[FeatureInputs]:
    """Features of all images, computed unless `folder` holds a complete file of them.

    Args:
        base: Frozen base.
        data: Images.
        flips: Whether to compute the features of every mirrored image too.
        folder: Folder of the file, which has n * (1 or 2) * features * (2 or 4) bytes.
        name: Name of the file, and of the observer's stage.
        observer: Receiver of the progress.

    Raises:
        DataError: The disk is full.
    """
    first = base(data.images[data.positions[:1]])
    file = folder / f"{name.replace(' ', '-')}.bin"
    facts = {
        "films": len(data),
        "flips": flips,
        "shape": list(first.shape[1:]),
        "dtype": str(first.dtype),
        "base": base.hash(),
        "pixels": _pixel_hash(data),
    }

    def ensure() -> None:
        # Another training may be computing the same features.
        with file_lock(file.with_suffix(".lock")):
            if not _is_complete(file, facts):
                _compute(base, data, flips, file, observer, name)
                write_json(file.with_suffix(".json"), facts | {"sha256": sha256_of_file(file)})

    distributed.on_first_rank(ensure)
    inputs = FeatureInputs(file, tuple(first.shape[1:]), first.dtype, flips, data.labels)
    try:
        yield inputs
    finally:
        inputs.close()


def _pixel_hash(data: LabelledImages) -> str:
    digest = hashlib.sha256()
    for position in data.positions:
        digest.update(np.ascontiguousarray(data.images[position]).data)
    return digest.hexdigest()


def _is_complete(file: Path, facts: dict[str, object]) -> bool:
    try:
        recorded = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        digest = recorded.pop("sha256")
        return bool(recorded == facts and digest == sha256_of_file(file))
    except (OSError, ValueError, KeyError, AttributeError):
        return False


def _compute(base: FrozenBase, data: LabelledImages, flips: bool, file: Path, observer: Observer, name: str) -> None:
    observer.stage(name, len(data) * (2 if flips else 1))
    file.with_suffix(".json").unlink(missing_ok=True)
    with atomic_write(file) as temporary, temporary.open("wb") as stream:
        for start in range(0, len(data), _BATCH):
            images = data.images[data.positions[start : start + _BATCH]]
            variants = [base(images)]
            if flips:
                variants.append(base(images[:, :, ::-1]))
            # (images, variants, height, width, channels): an image and its mirror image are adjacent.
            maps = torch.stack([v.permute(0, 2, 3, 1) for v in variants], dim=1).contiguous()
            stream.write(maps.view(torch.uint8).numpy().data)
            observer.advance(len(images) * len(variants))
