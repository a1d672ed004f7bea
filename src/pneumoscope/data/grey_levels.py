"""Grey levels of images: one rule for files, arrays, tensors and Pillow images.

- 8 bits stay as they are.
- Deeper integers are taken to have the fewest of 8, 10, 12, 14 or 16 bits that hold the largest value, and are stretched to
  the full range of 16 bits: detectors give 10 to 14 bits, and converters store them in 16.
- Floating-point numbers are grey levels in [0, 1].
- Colour is reduced to luma (ITU-R BT.601), transparency is ignored.
"""

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pneumoscope.errors import InputError

Grey = NDArray[np.uint8] | NDArray[np.uint16]

# Bits that detectors and converters give.
_DEPTHS = (8, 10, 12, 14, 16)
_LARGEST_VALUE = 65535
# Pixels converted at once, so that what is needed in between takes little memory.
_STRIP = 1 << 21
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_COLOURS = (1, 3, 4)
EXPECTED = (
    "expected the path of a JPEG, PNG or DICOM file, its bytes, an open binary file, a Pillow image, or an array or tensor "
    "(height, width), with 1 or 3 colours or without, of integers in 0-65535 or floating-point numbers in [0, 1]"
)


def grey_levels(image: Any) -> Grey:
    """Grey levels of an array, a tensor or a Pillow image.

    Args:
        image: Pillow image; or NumPy array or PyTorch tensor of shape (h, w), (h, w, 1), (h, w, 3), (1, h, w) or (3, h, w),
            integers in 0-65535 or floating-point numbers in [0, 1]; a fourth colour is ignored.

    Returns:
        (height, width) uint8, or uint16 with the full range in use.

    Raises:
        InputError: Anything else.
    """
    if isinstance(image, Image.Image):
        return _of_pillow(image)
    array = _as_array(image)
    if array is None:
        raise InputError(f"{EXPECTED}; found {type(image).__name__}: convert it")
    return _of_array(array)


def full_range(image: Grey) -> Grey:
    """Stretch, in place, a 16-bit image to the full range of the fewest bits that hold its largest value."""
    largest = int(image.max(initial=0))
    most = next(2**bits - 1 for bits in _DEPTHS if largest < 2**bits)
    if image.dtype == np.uint16 and most < _LARGEST_VALUE:
        stretched = np.rint(np.arange(most + 1, dtype=np.uint16) * (_LARGEST_VALUE / most)).astype(np.uint16)
        levels = image.reshape(-1)
        for start in range(0, levels.size, _STRIP):
            levels[start : start + _STRIP] = stretched[levels[start : start + _STRIP]]
    return image


def _as_array(image: Any) -> NDArray[Any] | None:
    """Array of an array or tensor; None for anything else."""
    if isinstance(image, np.ndarray):
        return image
    if hasattr(image, "detach"):  # a PyTorch tensor, on whatever device; half precision has no array
        tensor = image.detach().cpu()
        return np.asarray(tensor.float() if tensor.is_floating_point() else tensor)
    if isinstance(image, bytes | str | os.PathLike) or not hasattr(image, "__array__"):
        return None
    return np.asarray(image)


def _of_pillow(image: Image.Image) -> Grey:
    upright = ImageOps.exif_transpose(image)
    if upright.mode == "F" or upright.mode.startswith("I"):
        return _of_array(np.asarray(upright))
    return np.array(upright.convert("L"))


def _of_array(array: NDArray[Any]) -> Grey:
    found = f"found an array {array.shape} of {array.dtype}"
    if array.size == 0 or array.ndim not in (2, 3) or array.dtype.kind not in "uif":
        raise InputError(f"{EXPECTED}; {found}: convert it, or use predict_many for several images")
    if array.ndim == 3:
        array = _without_colour(array, found)
    low, high = array.min(), array.max()
    if array.dtype.kind == "f":
        if not (low >= 0 and high <= 1):  # also where one is not a number
            raise InputError(f"{EXPECTED}; {found} in [{low:.4g}, {high:.4g}]: scale it to [0, 1]")
        return np.rint(array * np.float32(_LARGEST_VALUE)).astype(np.uint16)
    if low < 0 or high > _LARGEST_VALUE:
        raise InputError(f"{EXPECTED}; {found} in [{low}, {high}]: scale it to 0-65535")
    return array if array.dtype == np.uint8 else full_range(np.array(array, dtype=np.uint16))


def _without_colour(array: NDArray[Any], found: str) -> NDArray[Any]:
    """(height, width) luma, of the array's dtype."""
    if array.shape[2] not in _COLOURS:
        array = np.moveaxis(array, 0, 2)
    if array.shape[2] not in _COLOURS:
        raise InputError(f"{EXPECTED}; {found}: convert it, or use predict_many for several images")
    if array.shape[2] == 1:
        return array[:, :, 0]
    luma = array[:, :, :3].astype(np.float32) @ _LUMA
    return luma.astype(array.dtype) if array.dtype.kind == "f" else np.rint(luma).astype(array.dtype)
