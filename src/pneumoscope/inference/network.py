"""A bundle's network in ONNX Runtime: prepared images in, named outputs out."""

import os

import numpy as np
from numpy.typing import NDArray

from pneumoscope.bundle import INPUT
from pneumoscope.errors import BundleError, ConfigError, InputError

# The runtime would otherwise give this machine an identifier and tell its makers what it runs.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

# Images at a time: larger batches take more memory and no less time on a processor; a GPU wants many.
_BATCH = {"cpu": 2, "cuda": 64}
_PROVIDER = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class Network:
    """Runs an ONNX network.

    Attributes:
        batch: Images that are best given together.
    """

    def __init__(self, model: bytes, height: int, width: int, threads: int = 0, device: str = "cpu") -> None:
        """Prepares a network.

        Args:
            model: ONNX.
            height: Of the images it takes, pixels.
            width: Likewise.
            threads: For one image or batch; 0 for as many as there are cores.
            device: `cpu`, or `cuda` for a GPU.

        Raises:
            ConfigError: The runtime that is installed has no such device.
            BundleError: The runtime cannot read the network.
        """
        if (wanted := _PROVIDER.get(device)) not in (there := onnxruntime.get_available_providers()):
            raise ConfigError(
                f"expected a runtime for the device {device}, found one for {', '.join(there)}: "
                "install onnxruntime-gpu in the place of onnxruntime, or judge on the processor"
            )
        self.batch = _BATCH[device]
        self._size = (height, width)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # What nobody asks for is not computed.
        self._run_options = onnxruntime.RunOptions()
        self._run_options.only_execute_path_to_fetches = True
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=[wanted])
        except Exception as error:  # the runtime has an exception class of its own for every sort of damage
            raise BundleError(
                f"expected an ONNX network that this runtime reads, found {str(error).splitlines()[0]}: "
                "update onnxruntime or get the bundle anew"
            ) from error

    def run(self, images: NDArray[np.uint8], *outputs: str) -> list[NDArray[np.float32]]:
        """The named outputs, float32 with a row per image, for images (n, height, width) uint8.

        Raises:
            InputError: Images of another size or type.
        """
        if images.ndim != 3 or images.shape[1:] != self._size or images.dtype != np.uint8:
            raise InputError(
                f"expected films of (n, {self._size[0]}, {self._size[1]}) uint8, found {images.shape} {images.dtype}: "
                "prepare them with the manifest's preprocessing"
            )
        parts = [
            self._session.run(
                list(outputs), {INPUT: np.ascontiguousarray(images[start : start + self.batch])}, self._run_options
            )
            for start in range(0, max(len(images), 1), self.batch)
        ]
        return [np.concatenate(values) for values in zip(*parts, strict=True)]
