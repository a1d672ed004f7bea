"""Bits of pixels beside those of the image, in which older devices put overlays: a name, or a side mark with initials."""

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, RLELossless

# Planes of overlays (PS3.3, C.9.2): groups 6000 to 601E, with their bit position; 0 where they have data of their own.
_OVERLAYS, _BIT_POSITION = range(0x6000, 0x6020, 2), 0x0102


def clear_unused_bits(dataset: Dataset) -> str:
    """Set bits that are not of the image to zero, or to the sign of signed values; the values stay.

    Compressed pixels are not touched: JPEG streams hold the bits of the image alone, unless an overlay says otherwise.

    Returns:
        Reason why it cannot be done; empty where it is.
    """
    if "PixelData" not in dataset:
        return ""
    allocated, stored = int(dataset.get("BitsAllocated") or 0), int(dataset.get("BitsStored") or 0)
    high = int(dataset.get("HighBit", stored - 1))
    low = high + 1 - stored
    if not (0 < stored <= allocated and low >= 0 and high < allocated):
        return "pixels whose bits the header does not describe"
    if stored == allocated:
        return ""
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is not None and syntax.is_encapsulated:
        is_among = syntax == RLELossless or any(
            dataset[group, _BIT_POSITION].value for group in _OVERLAYS if (group, _BIT_POSITION) in dataset
        )
        return "compressed pixels that may have an overlay among their bits" if is_among else ""
    if allocated not in (8, 16, 32, 64):
        return "pixels of an unusual number of bits"
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    values = np.frombuffer(dataset.PixelData, np.dtype(f"{order}u{allocated // 8}"))
    cleared = values & (((1 << stored) - 1) << low)
    if dataset.get("PixelRepresentation") == 1:
        above = (1 << allocated) - (1 << (high + 1))
        cleared |= np.where(values & (1 << high), values.dtype.type(above), values.dtype.type(0))
    dataset.PixelData = cleared.astype(values.dtype).tobytes()
    return ""
