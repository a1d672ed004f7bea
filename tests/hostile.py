"""Image files made to cost a reader memory, processor time or a crash, and what reading each of them costs.

python tests/hostile.py [FOLDER] measures the files of a folder, or all of these, and prints a JSON line for each.
"""

import io
import json
import os
import resource
import select
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

MEGABYTE = 1 << 20
EXPLICIT, IMPLICIT, DEFLATED = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99"
BASELINE, EXTENDED, LOSSLESS = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.70"
JPEG_LS, JPEG2000, RLE = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5"


def hostile_files() -> dict[str, bytes]:
    """Files to be refused, by kind and variant; the same bytes at every call."""
    return _named(HOSTILE)


def costly_files() -> dict[str, bytes]:
    """Valid images of up to 100 million pixels, or with far too much metadata: to be read or refused at bounded cost."""
    return _named(COSTLY)


def _named(makers):
    return {f"{maker.__name__}/{name}": content for maker in makers for name, content in maker().items()}


# DICOM


def element(group, number, vr, value, length=None):
    """One element in explicit VR little endian."""
    head = struct.pack("<HH2s", group, number, vr.encode())
    length = len(value) if length is None else length
    if vr in ("OB", "OW", "SQ", "UN", "UT"):
        return head + struct.pack("<HL", 0, length) + value
    return head + struct.pack("<H", length) + value


def us(group, number, value):
    return element(group, number, "US", struct.pack("<H", value))


def text(group, number, vr, value):
    value = value.encode() if isinstance(value, str) else value
    return element(group, number, vr, value + b"\0" * (len(value) % 2))


def meta(syntax, before=b"", length=True, preamble=True):
    """Preamble and file meta information of a transfer syntax, with other elements of group 2 before it."""
    body = before + text(2, 0x10, "UI", syntax)
    count = len(body) if length is True else length
    head = b"" if count is None else element(2, 0, "UL", struct.pack("<L", count))
    return (bytes(128) + b"DICM" if preamble else b"") + head + body


def image(rows, columns, pixel_data, bits=16, stored=None, before=b"", after=b"", samples=1, frames_told=None):
    """Dataset of one grey image, the elements in the order of their numbers."""
    return (
        before
        + us(0x28, 2, samples)
        + text(0x28, 4, "CS", "MONOCHROME2 ")
        + (text(0x28, 8, "IS", str(frames_told)) if frames_told else b"")
        + us(0x28, 0x10, rows)
        + us(0x28, 0x11, columns)
        + us(0x28, 0x100, bits)
        + us(0x28, 0x101, stored or bits)
        + us(0x28, 0x102, (stored or bits) - 1)
        + us(0x28, 0x103, 0)
        + after
        + pixel_data
    )


def native(content):
    return element(0x7FE0, 0x10, "OW", content)


def item(content, length=None):
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(content) if length is None else length) + content


ITEM_END = struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
SEQUENCE_END = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
UNDEFINED = 0xFFFFFFFF


def encapsulated(*fragments, offsets=b""):
    padded = [fragment + b"\0" * (len(fragment) % 2) for fragment in fragments]
    return element(0x7FE0, 0x10, "OB", item(offsets) + b"".join(map(item, padded)) + SEQUENCE_END, UNDEFINED)


def frames():
    """Objects with more pixel data than their Rows and Columns say."""
    square = np.arange(64 * 64, dtype=np.uint16).tobytes()
    small = jpeg(8, 8)
    offsets = struct.pack("<2L", 0, 8 + len(small) + len(small) % 2)
    return {
        "rows": meta(EXPLICIT) + image(32, 64, native(square)),
        "columns": meta(EXPLICIT) + image(64, 16, native(square)),
        "bits": meta(EXPLICIT) + image(64, 64, native(square), bits=8),
        "one pixel": meta(EXPLICIT) + image(1, 1, native(square)),
        "implicit": meta(IMPLICIT) + implicit(32, 64, square),
        "deflated": meta(DEFLATED) + squeezed(image(32, 64, native(square))),
        "encapsulated": meta(BASELINE) + image(8, 8, encapsulated(small, small, offsets=offsets), bits=8),
        "told": meta(EXPLICIT) + image(32, 64, native(square), frames_told=2),
    }


def implicit(rows, columns, pixels, *others):
    """Dataset of one grey image in implicit VR, with other elements of group 28."""
    numbers = ((2, 1), (0x10, rows), (0x11, columns), (0x100, 16), (0x101, 16), (0x102, 15), (0x103, 0))
    values = [(number, struct.pack("<H", value)) for number, value in numbers] + list(others)
    pixel_data = struct.pack("<HHL", 0x7FE0, 0x10, len(pixels)) + pixels
    return b"".join(struct.pack("<HHL", 0x28, number, len(value)) + value for number, value in values) + pixel_data


def squeezed(content):
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflate.compress(content) + deflate.flush()


def zeros(megabytes, after=b"", before=b""):
    """Raw deflate stream of so many megabytes of zeros between two contents, made without compressing them all."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    start = deflate.compress(before) + deflate.flush(zlib.Z_FULL_FLUSH)
    piece = deflate.compress(bytes(MEGABYTE)) + deflate.flush(zlib.Z_FULL_FLUSH)
    return start + piece * megabytes + deflate.compress(after) + deflate.flush()


def deflated():
    """Small deflated objects of a gigabyte and more, told in ways that a search for the transfer syntax passes over."""
    bomb = zeros(1200, before=image(8, 8, element(0x7FE0, 0x10, "OW", b"", 1200 * MEGABYTE)))
    private = element(2, 0x102, "OB", bytes(5000))
    return {
        "plain": meta(DEFLATED) + bomb,
        "no group length": meta(DEFLATED, length=None) + bomb,
        "huge group length": meta(DEFLATED, length=0xFFFFFFF0) + bomb,
        "group length of zero": meta(DEFLATED, length=0) + bomb,
        "transfer syntax far behind": meta(DEFLATED, before=private) + bomb,
        "no preamble": meta(DEFLATED, preamble=False) + bomb,
        "no preamble, no group length": meta(DEFLATED, before=element(2, 1, "OB", b"\0\1"), length=None, preamble=False)
        + bomb,
        "spaces in the transfer syntax": meta(DEFLATED + " ") + bomb,
        "before the image": meta(DEFLATED)
        + zeros(400, before=element(9, 0x1010, "OB", b"", 400 * MEGABYTE), after=image(8, 8, native(bytes(128)))),
        "not whole": meta(DEFLATED) + zeros(2)[:-50],
        "a million elements": meta(DEFLATED) + squeezed(element(9, 0x1010, "LO", b"") * 1_000_000),
    }


def elements():
    """Objects whose elements become far more memory or time than they have bytes, each with a small image at its end."""
    tail = image(8, 8, native(bytes(128)))
    empty = item(b"")

    def within(content):
        return meta(EXPLICIT) + content + tail

    def shown(content):
        return meta(EXPLICIT) + image(8, 8, native(bytes(128)), after=content)

    numbers = b"1\\" * 500_000
    lut = element(0x28, 0x3002, "US", struct.pack("<3H", 65535, 0, 16))
    deep = element(8, 0x1140, "SQ", b"", UNDEFINED) + item(b"", UNDEFINED)
    return {
        "empty items": within(element(8, 0x1140, "SQ", empty * 1_000_000 + SEQUENCE_END, UNDEFINED)),
        "empty items, private": within(element(9, 0x1140, "UN", empty * 1_000_000 + SEQUENCE_END, UNDEFINED)),
        "empty elements": within(element(9, 0x1010, "LO", b"") * 1_000_000),
        "distinct elements": within(b"".join(element(9, n & 0xFFFF, "LO", b"") for n in range(300_000))),
        "nested sequences": within(deep * 100_000),
        "nested items": within(element(8, 0x1140, "SQ", item(b"", UNDEFINED) * 100_000, UNDEFINED)),
        "nested tables": shown(element(0x28, 0x3010, "SQ", b"", UNDEFINED) + deep * 50_000),
        "table of empty items": shown(element(0x28, 0x3010, "SQ", empty * 1_000_000)),
        "table of numbers": shown(
            element(
                0x28, 0x3010, "SQ", item(lut + element(0x28, 0x3006, "UN", bytes(4_000_000))) + SEQUENCE_END, UNDEFINED
            )
        ),
        "window of numbers": meta(IMPLICIT) + implicit(8, 8, bytes(128), (0x1050, numbers), (0x1051, numbers)),
        "columns of numbers": meta(IMPLICIT) + implicit(8, 8, bytes(128), (0x11, b"\1\0" * 2_000_000)),
        "fragments": meta(BASELINE) + image(8, 8, encapsulated(*[b"\xff\xd8"] * 300_000), bits=8),
        "empty fragments": meta(RLE) + image(8, 8, encapsulated(*[b""] * 1_000_000)),
        "fragments without an end": meta(BASELINE)
        + image(8, 8, element(0x7FE0, 0x10, "OB", item(b"") * 300_000, UNDEFINED), bits=8),
        "meta information": meta(EXPLICIT, before=element(2, 0x102, "OB", b"") * 500_000, length=None) + tail,
        "transfer syntax of a megabyte": bytes(128)
        + b"DICM"
        + struct.pack("<HH2sHL", 2, 0x10, b"UN", 0, MEGABYTE)
        + b"1\\" * (MEGABYTE // 2)
        + tail,
    }


# PNG


def chunk(name, content):
    return struct.pack(">L", len(content)) + name + content + struct.pack(">L", zlib.crc32(name + content))


def png(width, height, depth, colour, *others, interlaced=False, rows=None):
    """PNG of zeros, or of the rows given, with other chunks before its pixels."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    header = chunk(b"IHDR", struct.pack(">LLBBBBB", width, height, depth, colour, 0, 0, interlaced))
    if colour == 3:
        header += chunk(b"PLTE", bytes(range(256)) * 3)
    size = (width * channels * depth + 7) // 8 + 1
    count = adam7(width, height, channels * depth) if interlaced else size * height
    stream = zlib.compress(rows) if rows is not None else zlib_zeros(count)
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(others) + chunk(b"IDAT", stream) + chunk(b"IEND", b"")


def adam7(width, height, bits):
    """Bytes of the seven passes of an interlaced PNG."""
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    sides = [(-(-(width - x) // across), -(-(height - y) // down)) for x, y, across, down in passes]
    return sum(((w * bits + 7) // 8 + 1) * h for w, h in sides if w > 0 and h > 0)


def zlib_zeros(count):
    """zlib stream of so many zeros; Adler's sum of n zeros is n modulo 65,521 and 1."""
    whole, rest = divmod(count, MEGABYTE)
    return b"\x78\x9c" + zeros(whole, after=bytes(rest)) + struct.pack(">HH", count % 65521, 1)


def png_bombs():
    """PNG files larger than any radiograph once they are decoded."""
    side = 10_000
    small = bytes(9 * 8)
    return {
        "16-bit colour": png(side, side, 16, 2),
        "16-bit colour and alpha": png(side, side, 16, 6),
        "16-bit colour, interlaced": png(side, side, 16, 2, interlaced=True),
        "bits": png(20_000, 20_000, 1, 0),
        "one row": png(100_000_000, 1, 16, 6),
        "one column": png(1, 90_000_000, 8, 0),
        "no pixels": png(0, 8, 8, 0),
        "tiny chunks": png(8, 8, 8, 0, chunk(b"teXt", b"") * 200_000, rows=small),
        "tiny pixel chunks": png(8, 8, 8, 0, chunk(b"IDAT", b"") * 200_000, rows=small),
        "pixels end early": png(side, side, 8, 0, rows=bytes(1000)),
        "palette missing": png(side, side, 8, 0)[:25] + b"\3" + png(side, side, 8, 0)[26:],
    }


def large_png():
    side = 10_000
    return {
        "16-bit grey": png(side, side, 16, 0),
        "16-bit grey, interlaced": png(side, side, 16, 0, interlaced=True),
        "8-bit grey": png(side, side, 8, 0),
        "palette": png(side, side, 8, 3),
        "bits": png(side, side, 1, 0),
        "colour": png(side, side, 8, 2),
        "colour and alpha": png(side, side, 8, 6),
        "colour, interlaced": png(side, side, 8, 2, interlaced=True),
        "16-bit grey and alpha": png(side, side, 16, 4),
        "narrow": png(1500, 65_535, 16, 0),
        "wide": png(65_535, 1500, 16, 0),
        "turned": png(
            side, side, 16, 0, chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\1" + struct.pack(">HHLHH", 0x112, 3, 1, 6, 0))
        ),
        "16-bit colour of 60 million": png(7_800, 7_800, 16, 2),
    }


# JPEG


def segment(marker, content):
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


QUANTISATION = segment(0xDB, b"\0" + bytes([16] * 64))
# Codes for a difference of none ("0") and for an end of block ("0"), or for a run of 2^14 and more ended blocks ("0").
CODES = segment(0xC4, b"\x00" + bytes([1] + [0] * 15) + b"\0") + segment(0xC4, b"\x10" + bytes([1] + [0] * 15) + b"\0")
RUN_CODES = segment(0xC4, b"\x00" + bytes([1] + [0] * 15) + b"\0") + segment(
    0xC4, b"\x10" + bytes([1] + [0] * 15) + b"\xe0"
)


def jpeg_frame(width, height, components=1, process=0xC0, precision=8):
    planes = b"".join(bytes([number + 1, 0x11, 0]) for number in range(components))
    return segment(process, struct.pack(">BHHB", precision, height, width, components) + planes)


def scan(components, first, last, content, bits=0):
    return (
        segment(0xDA, bytes([len(components), *(x for c in components for x in (c, 0)), first, last, bits])) + content
    )


def blocks(width, height):
    return -(-width // 8) * -(-height // 8)


def jpeg(width, height, components=1, before=b"", process=0xC0, precision=8):
    """Sequential JPEG, every block of it in one grey; two bits a block."""
    content = bytes(-(-blocks(width, height) * components * 2 // 8))
    return (
        b"\xff\xd8"
        + before
        + QUANTISATION
        + jpeg_frame(width, height, components, process, precision)
        + CODES
        + scan(range(1, components + 1), 0, 63, content)
        + b"\xff\xd9"
    )


def progressive(width, height, scans, components=1, precision=8, before=b""):
    """Progressive JPEG: mean values, then so many scans of the other coefficients, of which there are none.

    All but the first of each component refine by one bit, for which a decoder looks at every coefficient.
    """
    count = blocks(width, height)
    # The run's code, and 14 bits that say by how much it is longer than 2^14: by 2^14 - 2, which gives no byte 0xFF.
    runs = "011111111111110" * -(-count // 32766)
    runs += "0" * (-len(runs) % 8)
    packed = int(runs, 2).to_bytes(len(runs) // 8, "big").replace(b"\xff", b"\xff\0")
    body = [scan(range(1, components + 1), 0, 0, bytes(-(-count * components // 8)))]
    for number in range(scans):
        bits = 0x01 if number < components else 0x10
        body.append(scan([1 + number % components], 1, 63, packed, bits))
    frame = jpeg_frame(width, height, components, 0xC2, precision)
    return b"\xff\xd8" + before + QUANTISATION + frame + RUN_CODES + b"".join(body) + b"\xff\xd9"


def jpeg_object(stream, width, height, syntax=BASELINE, bits=8):
    return meta(syntax) + image(height, width, encapsulated(stream), bits=8 if bits == 8 else 16, stored=bits)


def jpeg_scans():
    """Progressive JPEGs of so many scans that they keep a processor busy."""
    return {
        "882 of 100 million": progressive(10_000, 10_000, 882),
        "200 of 16 million": progressive(4_000, 4_000, 200),
        "99 of 50 million": progressive(7_000, 7_000, 99),
        "100,000 of few": progressive(64, 64, 100_000),
        "colour": progressive(6_000, 6_000, 300, components=3),
        "four colours": progressive(6_000, 6_000, 300, components=4),
        "fill bytes before the markers": progressive(6_000, 6_000, 300).replace(b"\xff\xda", b"\xff\xff\xff\xda"),
        "in DICOM": jpeg_object(progressive(6_000, 6_000, 300), 6_000, 6_000),
        "in DICOM, 12 bits": jpeg_object(progressive(6_000, 6_000, 300, precision=12), 6_000, 6_000, EXTENDED, 12),
        "comments": b"\xff\xd8" + segment(0xFE, b"") * 500_000 + jpeg(8, 8)[2:],
        "application segments": b"\xff\xd8" + segment(0xE1, b"Exif\0\0") * 100_000 + jpeg(8, 8)[2:],
    }


def jpeg_processes():
    """JPEGs of other processes, and with sizes and components that decoders of radiographs do not expect."""
    wide = jpeg(8_000, 8_000)
    return {
        **{
            f"process {code:#x}": jpeg(64, 64, process=code)
            for code in (0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCF)
        },
        "arithmetic, large": jpeg(10_000, 10_000, process=0xC9),
        "arithmetic in DICOM": jpeg_object(jpeg(6_000, 6_000, process=0xC9), 6_000, 6_000),
        "12 bits": jpeg(64, 64, precision=12, process=0xC1),
        "two frames": wide[:2] + jpeg_frame(8, 8) + wide[2:],
        "no height": jpeg(64, 0),
        "65,500 squared": b"\xff\xd8" + QUANTISATION + jpeg_frame(65_500, 65_500) + wide[-100:],
        "pixels end early": b"\xff\xd8"
        + QUANTISATION
        + jpeg_frame(9_000, 9_000)
        + CODES
        + scan([1], 0, 63, b"\0\xff\xd9"),
        "five components": jpeg(64, 64, components=5),
    }


def large_jpeg():
    side = 10_000
    adobe = segment(0xEE, b"Adobe" + struct.pack(">HHHB", 100, 0, 0, 0))
    return {
        "grey": jpeg(side, side),
        "colour": jpeg(side, side, 3),
        "colour without a transform": jpeg(side, side, 3, adobe),
        "four colours": jpeg(side, side, 4),
        "four colours, turned": jpeg(side, side, 4, exif([(0x112, 3, 1, b"\0\6\0\0")])),
        "progressive": progressive(side, side, 2),
        "progressive, colour": progressive(side, side, 5, components=3),
        "progressive, four colours": progressive(side, side, 4, components=4),
        "progressive, ten scans": progressive(side, side, 9),
    }


def exif(entries, after=b"", name=b"Exif\0\0"):
    directory = struct.pack(">H", len(entries)) + b"".join(struct.pack(">HHL", *e[:3]) + e[3] for e in entries)
    return segment(0xE1, (name + b"MM\0*\0\0\0\x08" + directory + after)[:65_000])


def pointing(count, size):
    """Entries that all point to the same bytes, as many as `size` says."""
    return [(0x1000 + number, 7, size, struct.pack(">L", 8)) for number in range(count)]


def metadata():
    """Small images with metadata that becomes large."""
    rows = bytes(9 * 8)
    tiff = exif(pointing(30_000, 900_000))[10:]
    huge = b"MM\0*\0\0\0\x08" + struct.pack(">H", 60_000)
    huge += b"".join(struct.pack(">HHL4s", *entry) for entry in pointing(60_000, 700_000))
    text_bomb = b"Comment\0\0" + zlib_zeros(300 * MEGABYTE)
    header = chunk(b"IHDR", struct.pack(">LLBBBBB", 20_000, 20_000, 8, 6, 0, 0, 0))
    start = jpeg(8, 8)[2:]
    return {
        "Exif entries": b"\xff\xd8" + exif(pointing(5_000, 60_000)) + start,
        "Exif segments": b"\xff\xd8" + segment(0xE1, b"Exif\0\0" + bytes(65_000)) * 400 + start,
        "Exif in many segments": b"\xff\xd8" + exif(pointing(5_000, 900_000)) + exif([], bytes(64_000)) * 30 + start,
        "Exif of four colours": b"\xff\xd8"
        + exif(pointing(5_000, 900_000))
        + exif([], bytes(64_000)) * 30
        + jpeg(8, 8, 4)[2:],
        "truncated Exif": b"\xff\xd8" + exif(pointing(5_000, 60_000))[:60] + start,
        "damaged Exif": b"\xff\xd8" + segment(0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\x09") + start,
        "Exif without a header": b"\xff\xd8" + segment(0xE1, b"Exif\0\0abcdefgh") + start,
        "eXIf": png(8, 8, 8, 0, chunk(b"eXIf", huge), rows=rows),
        "eXIf, short": png(8, 8, 8, 0, chunk(b"eXIf", tiff), rows=rows),
        "zTXt": png(8, 8, 8, 0, chunk(b"zTXt", text_bomb), rows=rows),
        "many zTXt": png(8, 8, 8, 0, chunk(b"zTXt", b"Comment\0\0" + zlib_zeros(900_000)) * 900, rows=rows),
        "iTXt": png(8, 8, 8, 0, chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib_zeros(300 * MEGABYTE)), rows=rows),
        "iCCP": png(8, 8, 8, 0, chunk(b"iCCP", b"profile\0\0" + zlib_zeros(300 * MEGABYTE)), rows=rows),
        "second header": png(8, 8, 8, 0, header, rows=rows),
        "tEXt": png(8, 8, 8, 0, chunk(b"tEXt", b"Comment\0" + bytes(4_000_000)), rows=rows),
        "large and with metadata": png(10_000, 9_999, 16, 0, chunk(b"tEXt", b"Comment\0" + bytes(4_000_000))),
    }


# Streams in DICOM


def lossless_jpeg(width, height, components=1, precision=12):
    """Lossless JPEG (process 14, selection value 1) of one grey; one bit a sample."""
    codes = segment(0xC4, b"\0" + bytes([1] + [0] * 15) + b"\0")
    content = bytes(-(-width * height * components // 8))
    frame = jpeg_frame(width, height, components, 0xC3, precision)
    return b"\xff\xd8" + frame + codes + scan(range(1, components + 1), 1, 0, content) + b"\xff\xd9"


def jpeg_ls(width, height, components=1, precision=16, content=bytes(400)):
    frame = segment(0xF7, jpeg_frame(width, height, components, 0xF7, precision)[4:])
    planes = bytes(x for number in range(components) for x in (number + 1, 0))
    return b"\xff\xd8" + frame + segment(0xDA, bytes([components]) + planes + b"\0\0\0") + content + b"\xff\xd9"


def jpeg2000(width=64, height=64, colour=False):
    """Codestream of a few grey values; its header can be altered."""
    ramp = np.add.outer(np.arange(height), np.arange(width)).astype(np.uint8)
    buffer = io.BytesIO()
    picture = Image.fromarray(ramp)
    (picture.convert("RGB") if colour else picture).save(buffer, "JPEG2000", no_jp2=True, irreversible=False)
    return buffer.getvalue()


def altered(stream, position, kind, *values):
    content = bytearray(stream)
    struct.pack_into(kind, content, position, *values)
    return bytes(content)


def in_dicom(stream, syntax, width=64, height=64, bits=16):
    return meta(syntax) + image(height, width, encapsulated(stream), bits=bits)


def streams():
    """Compressed frames of other sizes or components than their dataset says, and such as end early."""
    small = jpeg2000()
    jp2 = b"\0\0\0\x0cjP  \r\n\x87\n"
    return {
        "JPEG larger": in_dicom(jpeg(9_000, 9_000), BASELINE, bits=8),
        "JPEG colour": in_dicom(jpeg(64, 64, 3), BASELINE, bits=8),
        "JPEG of 12 bits for 8": in_dicom(jpeg(64, 64, process=0xC1, precision=12), EXTENDED, bits=8),
        "JPEG cut": in_dicom(jpeg(64, 64)[:-20], BASELINE, bits=8),
        "lossless larger": in_dicom(lossless_jpeg(65_000, 60), LOSSLESS),
        "lossless huge": in_dicom(altered(lossless_jpeg(64, 64), 7, ">HH", 65_535, 65_535), LOSSLESS),
        "lossless colour": in_dicom(lossless_jpeg(64, 64, 3), LOSSLESS),
        "lossless cut": in_dicom(lossless_jpeg(64, 64)[:-100], LOSSLESS),
        "lossless second frame": in_dicom(
            b"\xff\xd8" + jpeg_frame(64, 64, 1, 0xC3, 12) + lossless_jpeg(9_000, 9_000)[2:], LOSSLESS
        ),
        "JPEG-LS larger": in_dicom(jpeg_ls(9_000, 9_000), JPEG_LS),
        "JPEG-LS huge": in_dicom(jpeg_ls(65_535, 65_535), JPEG_LS),
        "JPEG-LS colour": in_dicom(jpeg_ls(64, 64, 3), JPEG_LS),
        "JPEG-LS cut": in_dicom(jpeg_ls(64, 64)[:-2], JPEG_LS),
        "JPEG-LS empty": in_dicom(jpeg_ls(64, 64, content=b""), JPEG_LS),
        "JPEG-LS cut, large": in_dicom(jpeg_ls(9_000, 9_000)[:-2], JPEG_LS, 9_000, 9_000),
        "JPEG 2000 larger": in_dicom(altered(small, 8, ">2L", 9_000, 9_000), JPEG2000, bits=8),
        "JPEG 2000 huge": in_dicom(altered(small, 8, ">2L", 2**32 - 1, 2**32 - 1), JPEG2000, bits=8),
        "JPEG 2000 colour": in_dicom(jpeg2000(colour=True), JPEG2000, bits=8),
        "JPEG 2000 of many components": in_dicom(altered(small, 40, ">H", 16_384), JPEG2000, bits=8),
        "JPEG 2000 of 38 bits": in_dicom(altered(small, 42, "B", 37), JPEG2000),
        "JPEG 2000 subsampled": in_dicom(altered(small, 43, "BB", 255, 255), JPEG2000, bits=8),
        "JPEG 2000 cut": in_dicom(small[: len(small) // 2], JPEG2000, bits=8),
        "JP2 with a box of no length": in_dicom(jp2 + bytes(4) + b"jp2h" + small, JPEG2000, bits=8),
        "JP2 with a box of one byte": in_dicom(jp2 + b"\0\0\0\1jp2h" + small, JPEG2000, bits=8),
        "JP2 of tiny boxes": in_dicom(jp2 + b"\0\0\0\x08free" * 200_000 + small, JPEG2000, bits=8),
        "no stream": in_dicom(b"", JPEG2000, bits=8),
        "another stream": in_dicom(small, JPEG_LS, bits=8),
        "unknown syntax": in_dicom(small, "1.2.3.4.5", bits=8),
    }


def jpeg2000_parts():
    """JPEG 2000 codestreams of a large image whose tiles, layers, precincts or code-blocks fill the memory."""
    side = 6_000
    large = altered(altered(jpeg2000(), 8, ">2L", side, side), 24, ">2L", side, side)
    coding = large.index(b"\xff\x52")
    length = int.from_bytes(large[coding + 2 : coding + 4])
    rest = large[coding + 2 + length :]
    tile = rest.index(b"\xff\x90")

    def coded(layers=1, levels=5, width=4, height=4, precincts=b""):
        content = struct.pack(">BBHB5B", bool(precincts), 0, layers, 0, levels, width, height, 0, 1) + precincts
        return segment(0x52, content)

    def stream(*segments_of_main, in_tile=b""):
        part = rest[tile : tile + 12]
        size = int.from_bytes(part[6:10]) + len(in_tile)
        return (
            large[:coding]
            + b"".join(segments_of_main)
            + rest[:tile]
            + part[:6]
            + struct.pack(">L", size)
            + part[10:]
            + in_tile
            + rest[tile + 12 :]
        )

    tiny = b"\x11" * 6
    variants = {
        "tiles": altered(stream(coded()), 24, ">2L", 16, 16),
        "layers": stream(coded(layers=65_535, precincts=b"\x77" * 6)),
        "precincts": stream(coded(precincts=tiny)),
        "code-blocks": stream(coded(width=0, height=0)),
        "precincts of a tile": stream(coded(), in_tile=coded(layers=60_000, precincts=tiny)),
        "precincts of a component": stream(coded(layers=60_000), segment(0x53, b"\0\1\5\4\4\0\1" + tiny)),
        "short coding": stream(segment(0x52, b"\1\0")),
        "tile part of two bytes": altered(stream(coded()), stream(coded()).index(b"\xff\x90") + 6, ">L", 2),
    }
    return {name: in_dicom(content, JPEG2000, side, side, 8) for name, content in variants.items()}


def rle_frame(*segments_, count=None, offsets=None):
    starts = np.cumsum([64, *map(len, segments_)]).tolist()[:-1]
    header = [len(segments_) if count is None else count, *(starts if offsets is None else offsets)]
    return struct.pack("<16L", *(header + [0] * 16)[:16]) + b"".join(segments_)


def rle():
    """RLE frames with wrong headers, and such as become far more than the image has."""
    fine = (b"\x81\0" * 32, b"\x81\1" * 32)
    run = b"\x81\0"
    return {
        "fifteen segments": in_dicom(rle_frame(*[fine[0]] * 15), RLE),
        "four thousand million segments": in_dicom(rle_frame(*fine, count=2**32 - 1), RLE),
        "offsets outside": in_dicom(rle_frame(*fine, offsets=[2**31, 2**32 - 1]), RLE),
        "offsets backwards": in_dicom(rle_frame(*fine, offsets=[128, 64]), RLE),
        "too long": in_dicom(rle_frame(run * 2_000_000, run * 2_000_000), RLE),
        "too short": in_dicom(rle_frame(run, run), RLE),
        "only no-ops": in_dicom(rle_frame(b"\x80" * 2_000_000, b"\x80" * 2_000_000), RLE),
        "cut": in_dicom(rle_frame(*fine)[:70], RLE),
        "no header": in_dicom(b"\2\0\0\0", RLE),
    }


def large_dicom():
    side = 10_000
    runs = b"\x81\0" * (side * side // 128 + 1)
    single = b"\0\0" * 2_000_000
    private = element(9, 0x1010, "OB", b"", 180 * MEGABYTE)
    return {
        "deflated, 16 bits": meta(DEFLATED)
        + zeros(190, before=image(side, 9_961, element(0x7FE0, 0x10, "OW", b"", 190 * MEGABYTE))),
        "deflated, private element": meta(DEFLATED)
        + zeros(180, before=private, after=image(64, 64, native(bytes(64 * 64 * 2)))),
        "deflated, 8 bits": meta(DEFLATED)
        + zeros(95, before=image(side, 9_961, element(0x7FE0, 0x10, "OW", b"", 95 * MEGABYTE), bits=8)),
        "RLE": in_dicom(rle_frame(runs, runs), RLE, side, side),
        "RLE of single bytes": in_dicom(rle_frame(single, single), RLE, 2_000, 1_000),
        "JPEG": jpeg_object(jpeg(side, side), side, side),
        "JPEG, progressive": jpeg_object(progressive(side, side, 5), side, side),
        "JPEG, 12 bits": jpeg_object(jpeg(side, side, process=0xC1, precision=12), side, side, EXTENDED, 12),
        "JPEG, 12 bits, progressive": jpeg_object(progressive(side, side, 5, precision=12), side, side, EXTENDED, 12),
        "lossless": jpeg_object(lossless_jpeg(side, side), side, side, LOSSLESS, 12),
        "lossless, 8 bits": jpeg_object(lossless_jpeg(side, side, precision=8), side, side, LOSSLESS, 8),
    }


def nonsense():
    """Bytes that begin as an image does."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, 20_000, dtype=np.uint8).tobytes()
    starts = {
        "JPEG": b"\xff\xd8\xff\xe0",
        "PNG": b"\x89PNG\r\n\x1a\n",
        "DICOM": bytes(128) + b"DICM",
        "DICOM without preamble": b"\x08\0\5\0",
        "DICOM deflated": meta(DEFLATED),
        "DICOM pixel data": meta(EXPLICIT) + image(64, 64, b""),
        "DICOM undefined length": meta(EXPLICIT) + element(9, 0x1010, "OB", b"", UNDEFINED),
        "DICOM undefined text": meta(IMPLICIT) + struct.pack("<HHL", 0x28, 0x10, UNDEFINED),
        "DICOM table": meta(EXPLICIT) + element(0x28, 0x3010, "SQ", b"", UNDEFINED),
        "anything": b"",
    }
    found = {
        f"{name}, {fill}": start + body
        for name, start in starts.items()
        for fill, body in (("noise", noise), ("zeros", bytes(5000)), ("ones", b"\xff" * 5000))
    }
    return found | {"empty": b"", "one byte": b"\xff"}


HOSTILE = (frames, deflated, elements, png_bombs, jpeg_scans, jpeg_processes, streams, jpeg2000_parts, rle, nonsense)
COSTLY = (large_png, large_jpeg, large_dicom, metadata)


# What reading them costs


def measure(files):
    """Reading each file in a process of its own: what came of it, peak megabytes above the start, seconds of processor.

    `HOSTILE_SECONDS` of wall-clock time end a reader, which may reserve `HOSTILE_MEGABYTES` of memory.
    """
    seconds, memory = (
        int(os.environ.get(f"HOSTILE_{name}", most)) for name, most in (("SECONDS", 30), ("MEGABYTES", 2000))
    )
    import pneumoscope.data.dicom  # noqa: F401  (a reader imports it at the first DICOM file)
    from pneumoscope.data.reading import read_grey

    for file in files:
        answer, told = os.pipe()
        if (child := os.fork()) == 0:
            os.close(answer)
            _read_and_tell(read_grey, file, told, memory)
        os.close(told)
        line = b""
        while select.select([answer], [], [], seconds)[0] and (part := os.read(answer, 65_536)):
            line += part
        ended = line.endswith(b"\n")
        if not ended:
            os.kill(child, 9)
        os.close(answer)
        status = os.waitpid(child, 0)[1]
        yield json.loads(line) if ended else {"file": str(file), "result": f"ended by status {status}"}


def _read_and_tell(read_grey, file, told, memory):
    start = resource.getrusage(resource.RUSAGE_SELF)
    reserved = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize() + memory * MEGABYTE
    resource.setrlimit(resource.RLIMIT_DATA, (reserved, reserved))
    result = "read"
    try:
        levels = read_grey(file)
        if levels.ndim != 2 or levels.size == 0 or levels.dtype not in (np.uint8, np.uint16):
            result = f"read as {levels.dtype} of shape {levels.shape}"
    except BaseException as error:
        result = f"{type(error).__name__}: {error}"
    end = resource.getrusage(resource.RUSAGE_SELF)
    cost = {
        "file": str(file),
        "result": result,
        "megabytes": (end.ru_maxrss - start.ru_maxrss) / 1024,
        "seconds": end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime,
    }
    os.write(told, json.dumps(cost).encode() + b"\n")
    os._exit(0)


def write(folder, files):
    """Write files under their names and give their paths."""
    paths = [folder / f"{name.replace('/', ' - ')}.img" for name in files]
    for path, content in zip(paths, files.values(), strict=True):
        path.write_bytes(content)
    return paths


def main():
    if len(sys.argv) > 1:
        for cost in measure(sorted(Path(sys.argv[1]).iterdir())):
            sys.stdout.write(json.dumps(cost) + "\n")
            sys.stdout.flush()
        return
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), hostile_files() | costly_files())
        # A process without all these files in its memory.
        subprocess.run([sys.executable, __file__, folder], check=True)


if __name__ == "__main__":
    main()
