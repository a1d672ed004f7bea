"""Weight file of Keras' Inception V3: found or downloaded, checked and loaded."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from pneumoscope import paths
from pneumoscope.downloading import Download, fetch
from pneumoscope.errors import WeightsError
from pneumoscope.files import sha256_of_file
from pneumoscope.models.inception import InceptionV3
from pneumoscope.progress import Report, silent

# Address and MD5 for include_top=False, from keras.applications.inception_v3.
KERAS_FILE = Download(
    "https://storage.googleapis.com/tensorflow/keras-applications/inception_v3/"
    "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "md5",
    "bcbd6486424b2319ff4ef7d526e38f63",
)
_IMAGENET = "Keras' own ImageNet weights"


@dataclass(frozen=True)
class WeightFile:
    """Weight file with its identity.

    Attributes:
        path: Path of the file.
        sha256: SHA-256 of the file, 64 hex digits.
        description: Images that the weights were trained on, as far as known.
    """

    path: Path
    sha256: str
    description: str

    @property
    def origin(self) -> dict[str, str]:
        """Name, SHA-256 and description, as a run folder records them; the path would mean nothing elsewhere."""
        return {"file": self.path.name, "sha256": self.sha256, "description": self.description}


def find_inception_weights(named: Path | None, report: Report = silent) -> WeightFile:
    """Find the weight file: `named`, else PNEUMOSCOPE_INCEPTION_WEIGHTS, else Keras' own, cached or downloaded.

    Raises:
        WeightsError: The named file does not exist.
        DownloadError: Keras' file is not cached and cannot be downloaded.
    """
    chosen = named or paths.inception_weights_from_environment()
    if chosen is not None:
        if not chosen.is_file():
            raise WeightsError(
                f"expected an Inception V3 notop HDF5 file at {chosen}, found no file: check --inception-weights"
            )
        with chosen.open("rb") as stream:
            keras_own = hashlib.file_digest(stream, KERAS_FILE.hash_name).hexdigest() == KERAS_FILE.digest
        return WeightFile(chosen, sha256_of_file(chosen), _IMAGENET if keras_own else f"not Keras' file: {chosen.name}")
    cached = paths.cache_directory() / KERAS_FILE.url.rpartition("/")[2]
    if not cached.is_file():
        fetch(KERAS_FILE, cached, report("downloading Inception V3 weights (MB)"))
    return WeightFile(cached, sha256_of_file(cached), _IMAGENET)


def load_inception_weights(path: Path) -> InceptionV3:
    """Load the base of model 3 from an HDF5 file as Keras' `inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5`.

    Layers are matched by the number in their name, which is the order in which Keras creates them. Kernels are transposed
    from Keras' (height, width, in, out) to (out, in, height, width).

    Raises:
        WeightsError: The file is missing, is not HDF5, or does not hold the 94 convolutions and normalisations.
    """
    base = InceptionV3()
    try:
        with h5py.File(str(path), "r") as file:
            layers = file.get("model_weights", file)
            kernels = _numbered(layers, "conv2d")
            norms = _numbered(layers, "batch_normalization")
            convolutions = list(base.convolutions())
            if not len(kernels) == len(norms) == len(convolutions):
                raise WeightsError(
                    f"expected {len(convolutions)} convolutions and normalisations in {path}, "
                    f"found {len(kernels)} and {len(norms)}: name an Inception V3 notop file"
                )
            for layer, kernel, norm in zip(convolutions, kernels, norms, strict=True):
                assign_weight(layer.convolution.weight, kernel["kernel"].transpose(3, 2, 0, 1), path)
                assign_weight(layer.beta, norm["beta"], path)
                assign_weight(layer.mean, norm["moving_mean"], path)
                assign_weight(layer.variance, norm["moving_variance"], path)
    except (OSError, KeyError, AttributeError) as error:
        raise WeightsError(
            f"expected Keras' Inception V3 notop weights (HDF5) at {path}, found {error}: name the right file"
        ) from error
    return base


def _numbered(layers: Any, stem: str) -> list[dict[str, NDArray[np.float32]]]:
    """Arrays of every layer named `stem` or `stem_<number>`, by ascending number."""
    found = {}
    for name in layers:
        if match := re.fullmatch(rf"{stem}(?:_(\d+))?", name):
            arrays: dict[str, NDArray[np.float32]] = {}
            layers[name].visititems(
                lambda key, item, arrays=arrays: (
                    arrays.update({key.split("/")[-1].split(":")[0]: item[()]})
                    if isinstance(item, h5py.Dataset)
                    else None
                )
            )
            if arrays:
                found[int(match[1] or 0)] = arrays
    return [found[number] for number in sorted(found)]


@torch.no_grad()
def assign_weight(target: torch.Tensor, values: NDArray[np.float32], path: Path) -> None:
    """Copy values from a weight file into a tensor.

    Raises:
        WeightsError: The shapes differ.
    """
    if tuple(target.shape) != values.shape:
        raise WeightsError(
            f"expected a weight of shape {tuple(target.shape)} in {path}, found {values.shape}: name a file of the same network"
        )
    target.copy_(torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)))
