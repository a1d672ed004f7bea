"""Network of a bundle in ONNX Runtime: prepared images in, named outputs out.

A bundle may have a linear head of its own, which replaces the last layers of the graph: its logits are a linear function of the
features, and its evidence map, since features are means of the feature maps, the same function of these maps at each position.
"""

import os
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pneumoscope.bundle import EVIDENCE, EXPLAINED, FEATURE_MAPS, FEATURES, INPUT, LOGITS
from pneumoscope.errors import BundleError, ConfigError, InputError

# ONNX Runtime otherwise gives this machine an identifier and sends its makers what it runs.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

# Images per batch: larger batches take more memory and no less time on a CPU; a GPU is idle with small ones.
_BATCH = {"cpu": 4, "cuda": 64}
_PROVIDER = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class NetworkFailure(Exception):
    """A network that was loaded fails on an image of the right size: no image is to blame."""


class Network:
    """ONNX network.

    Attributes:
        batch: Best number of images per call.
    """

    def __init__(
        self,
        model: bytes,
        height: int,
        width: int,
        threads: int = 0,
        device: str = "cpu",
        head: Mapping[str, NDArray[np.float32]] | None = None,
    ) -> None:
        """Load a network.

        Args:
            model: ONNX file's bytes.
            height: Height of the network's input, pixels.
            width: Width of the network's input, pixels.
            threads: Threads for one image or batch; 0 for as many as there are cores.
            device: `cpu`, or `cuda` for a GPU.
            head: `weight` (classes, channels) and `bias` (classes,) of a linear head; the graph's own head where None.

        Raises:
            ConfigError: The installed runtime has no such device.
            BundleError: The runtime cannot read the network.
        """
        if (provider := _PROVIDER.get(device)) not in (available := onnxruntime.get_available_providers()):
            raise ConfigError(
                f"expected a runtime for the device {device}, found one for {', '.join(available)}: "
                "install onnxruntime-gpu instead of onnxruntime, or use the CPU"
            )
        self.batch = _BATCH[device]
        self._size = (height, width)
        self._head = head
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=[provider])
        except Exception as error:  # ONNX Runtime has an exception class for every sort of damage
            raise BundleError(
                f"expected an ONNX network that this runtime reads, found {str(error).splitlines()[0]}: "
                "update onnxruntime or get the bundle again"
            ) from error

    def run(self, images: NDArray[np.uint8], *outputs: str) -> list[NDArray[np.float32]]:
        """Compute the named outputs, float32 with a row per image, of images (n, height, width) uint8.

        Raises:
            InputError: Images of another size or dtype.
            MemoryError: The runtime gets too little memory.
            NetworkFailure: The network fails for another reason.
        """
        if images.ndim != 3 or images.shape[1:] != self._size or images.dtype != np.uint8:
            raise InputError(
                f"expected images of (n, {self._size[0]}, {self._size[1]}) uint8, found {images.shape} {images.dtype}: "
                "prepare them with the manifest's preprocessing"
            )
        wanted = dict.fromkeys(each for name in outputs for each in self._computed_from(name))
        parts = [
            self._run_batch(images[start : start + self.batch], list(wanted))
            for start in range(0, max(len(images), 1), self.batch)
        ]
        found = dict(zip(wanted, (np.concatenate(values) for values in zip(*parts, strict=True)), strict=True))
        return [self._output(name, found) for name in outputs]

    def _computed_from(self, name: str) -> tuple[str, ...]:
        """Outputs of the graph that an output is computed from."""
        if self._head is None or name not in (LOGITS, EVIDENCE):
            return (name,)
        return (FEATURES,) if name == LOGITS else (FEATURE_MAPS,)

    def _output(self, name: str, found: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        if self._head is None or name not in (LOGITS, EVIDENCE):
            return found[name]
        weight, bias = self._head["weight"], self._head["bias"]
        if name == LOGITS:
            # A matrix product would round differently for another number of images; this sum does not.
            return np.asarray(np.einsum("nc,kc->nk", found[FEATURES], weight) + bias, dtype=np.float32)
        return np.asarray(np.einsum("kc,ncij->nkij", weight, found[FEATURE_MAPS]), dtype=np.float32)

    def _run_batch(self, images: NDArray[np.uint8], outputs: Sequence[str]) -> list[NDArray[np.float32]]:
        inputs: dict[str, NDArray[np.generic]] = {INPUT: np.ascontiguousarray(images)}
        if EVIDENCE in outputs:
            inputs[EXPLAINED] = np.arange(len(images))
        try:
            found: list[NDArray[np.float32]] = self._session.run(list(outputs), inputs)
            return found
        except Exception as error:  # ONNX Runtime has an exception class for every sort of failure
            message = str(error) or type(error).__name__
            if "alloc" in message:  # as in std::bad_alloc and "Failed to allocate memory"
                raise MemoryError(message) from error
            raise NetworkFailure(message) from error
