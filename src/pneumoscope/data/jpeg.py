"""Structure of a JPEG or JPEG-LS stream, read without decoding: frame header, scans, orientation."""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from pneumoscope.data import limits

START, END = b"\xff\xd8", b"\xff\xd9"
JPEG_LS = 0xF7
# Baseline, extended sequential, progressive and lossless frames with Huffman codes. The others, hierarchical and
# arithmetic-coded, occur in no radiograph, and arithmetic decoding is slow.
PROGRESSIVE = 0xC2
HUFFMAN_FRAMES = (0xC0, 0xC1, PROGRESSIVE, 0xC3)

_SCAN, _END, _COMMENT = 0xDA, 0xD9, 0xFE
_APP0, _APP1, _APP14, _APP15 = 0xE0, 0xE1, 0xEE, 0xEF
# libjpeg's rule for finding the next marker: stuffed zeros and fill bytes are passed over, restart markers have no length.
_MARKER = re.compile(rb"\xff([^\x00\xff\x01\xd0-\xd7])")
_EXIF, _XMP = b"Exif\x00\x00", b"http://ns.adobe.com/xap/1.0/\x00"
_ORIENTATION_TAG = 0x0112
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
# TIFF integer types that fit an entry's four bytes: BYTE, SHORT, LONG and the signed ones.
_TIFF_INTEGERS = {1: "B", 3: "H", 4: "L", 6: "b", 8: "h", 9: "l"}


@dataclass(frozen=True)
class FrameHeader:
    """Frame header of a JPEG or JPEG-LS stream.

    Attributes:
        process: Second byte of the frame marker: 0xC0 baseline, 0xC3 lossless, 0xF7 JPEG-LS.
        precision: Bits of a sample.
        rows: Height in pixels.
        columns: Width in pixels.
        components: Samples of a pixel.
    """

    process: int
    precision: int
    rows: int
    columns: int
    components: int


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, first and last position of each segment from the start of the stream to its first scan, that one included.

    Raises:
        ValueError: A segment is cut short, or there are more than `MAX_SEGMENTS`.
    """
    position = len(START)
    for _ in range(limits.MAX_SEGMENTS):
        found = _MARKER.search(data, position)
        if found is None or (marker := found[1][0]) == _END:
            return
        start = found.end()
        position = start + int.from_bytes(data[start : start + 2], "big")
        if position < start + 2 or position > len(data):
            raise ValueError("truncated JPEG")
        yield marker, start + 2, position
        if marker == _SCAN:
            return
    raise ValueError(f"more than {limits.MAX_SEGMENTS} JPEG segments")


def frame_header(data: bytes) -> FrameHeader:
    """Frame header of a JPEG or JPEG-LS stream.

    Raises:
        ValueError: There is none.
    """
    for marker, start, end in segments(data):
        if marker == JPEG_LS or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            if end - start < 6:
                break
            return FrameHeader(marker, *struct.unpack(">BHHB", data[start : start + 6]))
    raise ValueError("JPEG without a frame header")


def check_scans(data: bytes, pixels: int) -> int:
    """Number of scans of a JPEG stream at most; those of embedded previews count too.

    Raises:
        ValueError: More than any encoder writes, or too many for so many pixels.
    """
    # Every scan begins with these two bytes, so their count cannot be less than the decoder's, however it finds its way.
    scans = data.count(bytes((0xFF, _SCAN)))
    if scans > limits.MAX_SCANS or scans * pixels > limits.MAX_SCANNED_PIXELS:
        raise ValueError(f"{scans} scans of {pixels} pixels")
    return scans


def without_metadata(data: bytes) -> bytes:
    """Stream with only those application segments that its pixels depend on: JFIF's and Adobe's."""
    parts = [START]
    position = len(data)
    for marker, start, end in segments(data):
        if marker == _SCAN:
            position = start - 4
            break
        if marker in (_APP0, _APP14) or not (_APP0 <= marker <= _APP15 or marker == _COMMENT):
            parts.append(data[start - 4 : end])
    return b"".join([*parts, memoryview(data)[position:]])


def jpeg_orientation(data: bytes) -> int:
    """EXIF orientation, 1 to 8, of a JPEG stream; XMP's where Exif has none, 1 where neither has one.

    Raises:
        ValueError: The Exif block has no valid header.
    """
    exif: list[bytes] = []
    xmp = b""
    for marker, start, end in segments(data):
        if marker == _APP1 and data.startswith(_EXIF, start):
            exif.append(data[start + len(_EXIF) : end])
        elif marker == _APP1 and data.startswith(_XMP, start):
            xmp = data[start + len(_XMP) : end]
    return orientation(b"".join(exif), xmp)


def orientation(exif: bytes, xmp: bytes) -> int:
    """EXIF orientation, 1 to 8: of the first directory of a TIFF block, else of an XMP packet, else 1.

    The TIFF block is read here and not by Pillow, which takes a time that grows with the square of the number of Exif
    segments and, in earlier versions, loads what each entry points to: 60,000 times the same megabyte.

    Raises:
        ValueError: The block has no TIFF header.
    """
    if (found := _tiff_orientation(exif)) is not None:
        return found
    match = _XMP_ORIENTATION.search(xmp)
    return int(match[1]) if match else 1


def _tiff_orientation(block: bytes) -> int | None:
    while block.startswith(_EXIF):
        block = block[len(_EXIF) :]
    if not block:
        return None
    # Writers also swap the two bytes after the letters; Pillow takes that, too.
    order = {b"II*\x00": "<", b"II\x00*": "<", b"MM\x00*": ">", b"MM*\x00": ">"}.get(block[:4])
    if order is None or len(block) < 8:
        raise ValueError("damaged Exif block")
    (at,) = struct.unpack(f"{order}L", block[4:8])
    (count,) = struct.unpack(f"{order}H", block[at : at + 2].ljust(2, b"\x00"))
    entries = block[at + 2 : at + 2 + 12 * count]
    for tag, kind, values, content in struct.iter_unpack(f"{order}HHL4s", entries[: len(entries) // 12 * 12]):
        if tag == _ORIENTATION_TAG:
            code = _TIFF_INTEGERS.get(kind)
            return int(struct.unpack_from(f"{order}{code}", content)[0]) if code and values == 1 else 1
    return None
