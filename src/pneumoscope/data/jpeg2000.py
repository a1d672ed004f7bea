"""Structure of a JPEG 2000 codestream, read without decoding: image header, and how many parts a decoder keeps of it.

Source: ISO/IEC 15444-1, Annex A.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from pneumoscope.data import limits

_START = b"\xff\x4f\xff\x51"
_JP2_START = b"\x00\x00\x00\x0cjP  "
_BOX = struct.Struct(">L4s")
_CODING, _COMPONENT_CODING, _TILE_PART, _DATA = 0xFF52, 0xFF53, 0xFF90, 0xFF93
# Length of the image header with one component, from the start of the codestream.
_IMAGE_HEADER = 45


@dataclass(frozen=True)
class Jpeg2000Header:
    """Image header of a codestream.

    Attributes:
        rows: Height in pixels.
        columns: Width in pixels.
        components: Samples of a pixel.
        precision: Bits of a sample.
        signed: Whether samples are signed.
        tiles: Number of tiles.
    """

    rows: int
    columns: int
    components: int
    precision: int
    signed: bool
    tiles: int


def codestream(frame: bytes) -> bytes:
    """Codestream of a frame, which may stand in a JP2 file.

    Raises:
        ValueError: There is none.
    """
    position = 0
    if frame.startswith(_JP2_START):
        for _ in range(limits.MAX_SEGMENTS):
            if position + _BOX.size > len(frame):
                break
            length, name = _BOX.unpack_from(frame, position)
            if name == b"jp2c":
                frame = frame[position + _BOX.size :]
                break
            if length < _BOX.size:
                break
            position += length
    if not frame.startswith(_START) or len(frame) < _IMAGE_HEADER:
        raise ValueError("no JPEG 2000 codestream")
    return frame


def image_header(stream: bytes) -> Jpeg2000Header:
    """Image header of a codestream.

    Raises:
        ValueError: It is damaged.
    """
    right, lower, left, upper, *tiling = struct.unpack(">8L", stream[8:40])
    tile_width, tile_height, tile_left, tile_upper = tiling
    (components,) = struct.unpack(">H", stream[40:42])
    if min(tile_width, tile_height) < 1 or right <= left or lower <= upper or stream[43:45] != b"\x01\x01":
        raise ValueError("damaged JPEG 2000 header")
    tiles = -(-(right - tile_left) // tile_width) * -(-(lower - tile_upper) // tile_height)
    depth = stream[42]
    return Jpeg2000Header(lower - upper, right - left, components, (depth & 0x7F) + 1, depth >= 0x80, tiles)


def check_parts(stream: bytes, header: Jpeg2000Header) -> None:
    """Raise ValueError for more than `MAX_JPEG2000_TILES` tiles or `MAX_JPEG2000_PARTS` parts, which all take memory."""
    if header.tiles > limits.MAX_JPEG2000_TILES:
        raise ValueError(f"{header.tiles} tiles")
    layers = 1
    for marker, start, end in _coding_segments(stream):
        # A component's own coding begins with its number and has neither layers nor progression.
        own = marker == _COMPONENT_CODING
        style = stream[start + 1] if own else stream[start]
        layers = layers if own else int.from_bytes(stream[start + 2 : start + 4])
        parts = _parts(header, stream[start + (2 if own else 5) : end], style & 1 == 1)
        if parts * layers > limits.MAX_JPEG2000_PARTS:
            raise ValueError(f"{parts * layers} packets and code-blocks")


def _coding_segments(stream: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, first and last position of each segment about coding, of the main header and of those of the tile-parts."""
    position, tile_part = 2, 0
    for _ in range(limits.MAX_CHUNKS):
        marker, length = (
            int.from_bytes(stream[position : position + 2]),
            int.from_bytes(stream[position + 2 : position + 4]),
        )
        if marker == _DATA:
            position = tile_part
            continue
        if marker < 0xFF00 or length < 2 or position + 2 + length > len(stream):
            return
        if marker in (_CODING, _COMPONENT_CODING):
            yield marker, position + 4, position + 2 + length
        if marker == _TILE_PART:
            part = int.from_bytes(stream[position + 6 : position + 10])
            # A length of zero goes to the end; a shorter one than the header's would go round in circles.
            tile_part = position + part if part >= 14 else len(stream)
        position += 2 + length
    raise ValueError("more segments than a JPEG 2000 codestream has")


def _parts(header: Jpeg2000Header, coding: bytes, own_precincts: bool) -> int:
    """Number of precincts and code-blocks, rounded up tile by tile."""
    levels, width, height = coding[0], (coding[1] & 0xF) + 2, (coding[2] & 0xF) + 2
    blocks = (header.columns >> width) * (header.rows >> height)
    precincts = 0
    for level in range(levels + 1):
        exponents = coding[5 + level] if own_precincts else 0xFF
        scale = levels - level
        across = (header.columns >> (scale + (exponents & 0xF))) + 1
        down = (header.rows >> (scale + (exponents >> 4))) + 1
        precincts += across * down
    return max(blocks, precincts + header.tiles * (levels + 1))
