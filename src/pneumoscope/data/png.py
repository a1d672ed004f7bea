"""Structure of a PNG file, read without decoding: header and chunks."""

import struct
from dataclasses import dataclass

from pneumoscope.data import limits

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_GREY = 0
_CHANNELS = {_GREY: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Chunks that say how an image is to be turned, in Exif or as text; they are kept while they are short.
_DESCRIPTIONS = (b"eXIf", b"iTXt", b"tEXt", b"zTXt")
_NEEDED = (b"IDAT", b"IEND")
# Bytes of a palette and of its transparency at most.
_PALETTES = {b"PLTE": 768, b"tRNS": 256}
_CHUNK = struct.Struct(">L4s")


@dataclass(frozen=True)
class PngHeader:
    """Header of a PNG file.

    Attributes:
        width: In pixels.
        height: In pixels.
        depth: Bits of a sample.
        colour: Colour type: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha.
    """

    width: int
    height: int
    depth: int
    colour: int

    @property
    def row_bytes(self) -> int:
        """Bytes of an inflated row."""
        return self.width * _CHANNELS[self.colour] * self.depth // 8 + 1

    @property
    def pixel_bytes(self) -> int:
        """Bytes of a decoded pixel, in Pillow's memory and as a grey level together."""
        if _CHANNELS[self.colour] > 1:
            return 4 + 1
        return 2 + 2 if self.depth > 8 else 1 + 1


def png_header(data: bytes) -> PngHeader:
    """Header of a PNG file.

    Raises:
        ValueError: It is missing or not valid.
    """
    if data[12:16] != b"IHDR" or len(data) < 26:
        raise ValueError("truncated PNG")
    header = PngHeader(*struct.unpack(">LLBB", data[16:26]))
    if header.colour not in _CHANNELS or header.depth not in (1, 2, 4, 8, 16):
        raise ValueError("damaged PNG header")
    return header


def without_metadata(data: bytes) -> bytes:
    """File with only those chunks that its pixels and its orientation depend on; the same object where it has no others.

    Raises:
        ValueError: More than `MAX_CHUNKS` chunks.
    """
    view = memoryview(data)
    parts = [view[: len(SIGNATURE)]]
    position, described = len(SIGNATURE), 0
    for _ in range(limits.MAX_CHUNKS):
        if position + _CHUNK.size > len(data):
            break
        length, name = _CHUNK.unpack_from(data, position)
        end = position + length + 12
        if name in _DESCRIPTIONS:
            described += length
        short = length <= _PALETTES.get(name, 0) or (name in _DESCRIPTIONS and described <= limits.MAX_DESCRIPTION)
        # A second header would change the size of the image.
        if name in _NEEDED or short or (name == b"IHDR" and position == len(SIGNATURE)):
            parts.append(view[position:end])
        position = end
        if name == b"IEND":
            break
    else:
        raise ValueError(f"more than {limits.MAX_CHUNKS} PNG chunks")
    return data if sum(map(len, parts)) == len(data) else b"".join(parts)
