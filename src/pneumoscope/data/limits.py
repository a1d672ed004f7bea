"""Bounds of what decoding one image may cost in bytes, memory and processor time; all are checked before it is decoded."""

# The largest digital radiographs have about 20 million pixels; many more are a decompression bomb or no radiograph.
MAX_PIXELS = 100_000_000
MAX_BYTES = 2 * MAX_PIXELS + 10_000_000
# What JPEG and DICOM can express.
MAX_SIDE = 65_535
# Estimated bytes in use at once, the file included; the peak measured stays below 1,000 MB (tests/data/test_hostile.py).
MAX_MEMORY = 900_000_000
# A progressive JPEG goes over all its coefficients once per scan, which costs up to 5 ns a pixel. Encoders write at most
# 10 scans; 100 is also where libtiff stops.
MAX_SCANS = 100
MAX_SCANNED_PIXELS = 600_000_000
# JPEG 2000 decodes about 7 million pixels of noise, or 12 MB, a second; a lossless radiograph of 20 million pixels has
# less than 25 MB.
MAX_JPEG2000_PIXELS = 40_000_000
MAX_JPEG2000_BYTES = 32_000_000
# Tiles, and packets and code-blocks, that OpenJPEG keeps a record of, at 6 kB and a few hundred bytes each.
MAX_JPEG2000_TILES = 10_000
MAX_JPEG2000_PARTS = 500_000
# Bytes of PNG rows before they become pixels: 16-bit colour with transparency has 8 a pixel.
MAX_INFLATED = 450_000_000
# Parts that are gone through one by one: JPEG segments, PNG chunks, DICOM fragments, and reads of DICOM elements.
MAX_SEGMENTS = 5_000
MAX_CHUNKS = 100_000
MAX_FRAGMENTS = 10_000
MAX_READS = 100_000
# Bytes of text, Exif or a table; what is larger is no description of an image.
MAX_DESCRIPTION = 1_000_000


def check_bytes(count: int, limit: int = MAX_BYTES) -> None:
    """Raise ValueError for a file of more than `limit` bytes."""
    if count > limit:
        raise ValueError(f"{count} bytes are more than {limit}")


def check_size(width: int, height: int, limit: int = MAX_PIXELS) -> None:
    """Raise ValueError for an image without pixels, of more than `limit` pixels, or with a side above `MAX_SIDE`."""
    if min(width, height) < 1:
        raise ValueError(f"{width} x {height} pixels are none")
    if width * height > limit:
        raise ValueError(f"{width} x {height} pixels are more than {limit}")
    if max(width, height) > MAX_SIDE:
        raise ValueError(f"{width} x {height} pixels, a side of more than {MAX_SIDE}")


def check_memory(needed: float) -> None:
    """Raise ValueError where decoding is estimated to take more than `MAX_MEMORY` bytes."""
    if needed > MAX_MEMORY:
        raise ValueError(f"decoding takes about {needed / 1e6:.0f} MB, more than {MAX_MEMORY / 1e6:.0f} MB")
