"""Decoding of one compressed DICOM frame: JPEG, JPEG-LS, JPEG 2000 and RLE, after its stream has been checked.

Each stream is decoded into an array of the size that the dataset gives, so that a stream cannot choose how much memory it
takes. JPEG of 8 bits goes through simplejpeg (libjpeg-turbo), as JPEG files do; the other streams go through imagecodecs
(libjpeg-turbo, CharLS, OpenJPEG). `results/speed/codecs.json` compares them with other codecs.
"""

import struct
from dataclasses import dataclass

import imagecodecs
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)

from pneumoscope.data import limits
from pneumoscope.data.jpeg import END, HUFFMAN_FRAMES, JPEG_LS, PROGRESSIVE, check_scans, frame_header
from pneumoscope.data.jpeg2000 import check_parts, codestream, image_header
from pneumoscope.errors import UnsupportedDicom

_JPEG2000_SYNTAXES = (JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K)
# Transfer syntaxes whose samples take their sign from the highest bit of the stream's precision.
SIGN_IN_STREAM = (*_JPEG2000_SYNTAXES, *JPEGLSTransferSyntaxes)
# Transfer syntaxes of compressed frames that are read.
COMPRESSED = (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes, *_JPEG2000_SYNTAXES, RLELossless)
# Bytes at most that fill up a stream or a segment; the standard asks for an even length, which takes one.
_FILL = 4096
# Bytes a pixel: samples and grey levels; one more while a segment of RLE is put in its place; OpenJPEG's tile and image.
_PIXEL, _RLE_PIXEL, _JPEG2000_PIXEL = 4, 5, 12


@dataclass(frozen=True)
class DecodedFrame:
    """Samples of one frame as the stream holds them.

    Attributes:
        samples: (rows, columns) uint8, uint16, int8 or int16.
        precision: Bits of a sample in the stream; None for RLE, which does not say.
        signed: Whether the stream says that its samples are signed; only JPEG 2000 can.
    """

    samples: NDArray[np.integer]
    precision: int | None
    signed: bool = False


def decode_frame(frame: bytes, syntax: UID, shape: tuple[int, int], bits_allocated: int) -> DecodedFrame:
    """Samples of a compressed grey frame.

    Args:
        frame: Stream of the frame, its fragments joined.
        syntax: Transfer syntax of the dataset.
        shape: Rows and columns of the dataset.
        bits_allocated: Bits of a stored sample, 8 or 16.

    Raises:
        UnsupportedDicom: Colour, other sizes than the dataset's, or a transfer syntax that is not read.
        Exception: Any of the codecs', for a damaged stream; ValueError for one that is truncated or costs too much.
    """
    if syntax == RLELossless:
        return _decode_rle(frame, shape, bits_allocated)
    if syntax in _JPEG2000_SYNTAXES:
        return _decode_jpeg2000(frame, shape)
    if syntax in JPEGTransferSyntaxes or syntax in JPEGLSTransferSyntaxes:
        return _decode_jpeg(frame, shape)
    raise UnsupportedDicom(f"transfer syntax {syntax.name}")


def _check_frame(found: tuple[int, int], components: int, shape: tuple[int, int]) -> None:
    rows, columns = found
    if rows * columns > limits.MAX_PIXELS:
        raise UnsupportedDicom(f"{columns} x {rows} pixels, more than {limits.MAX_PIXELS}")
    if found != shape:
        raise UnsupportedDicom(f"{found} pixels encoded as {shape}")
    if components != 1:
        raise UnsupportedDicom(f"{components} samples a pixel encoded as grey")


def _decode_jpeg(frame: bytes, shape: tuple[int, int]) -> DecodedFrame:
    header = frame_header(frame)
    _check_frame((header.rows, header.columns), header.components, shape)
    if not 2 <= header.precision <= 16:
        raise ValueError(f"{header.precision} bits a sample")
    # Without its end a stream was cut: libjpeg-turbo fills up what is missing, CharLS does not come to an end.
    if END not in frame[-_FILL:]:
        raise ValueError("truncated JPEG stream")
    pixels = shape[0] * shape[1]
    if header.process == JPEG_LS:
        limits.check_memory(_PIXEL * pixels + 3 * len(frame))
        return DecodedFrame(imagecodecs.jpegls_decode(frame, out=_empty(shape, header.precision)), header.precision)
    if header.process not in HUFFMAN_FRAMES:
        raise UnsupportedDicom(f"arithmetic-coded or hierarchical JPEG, process {header.process:#x}")
    scans = check_scans(frame, pixels)
    # Several scans, or a progressive one, are collected as coefficients of two bytes.
    limits.check_memory((_PIXEL + 2 * (scans > 1 or header.process == PROGRESSIVE)) * pixels + 3 * len(frame))
    if header.precision == 8:
        samples = simplejpeg.decode_jpeg(frame, colorspace="GRAY")[:, :, 0]
    else:
        samples = imagecodecs.jpeg8_decode(frame, out=_empty(shape, header.precision))
    return DecodedFrame(samples, header.precision)


def _decode_jpeg2000(frame: bytes, shape: tuple[int, int]) -> DecodedFrame:
    stream = codestream(frame)
    header = image_header(stream)
    _check_frame((header.rows, header.columns), header.components, shape)
    check_parts(stream, header)
    if header.precision > 16:
        raise UnsupportedDicom(f"{header.precision} bits a sample")
    limits.check_size(header.columns, header.rows, limits.MAX_JPEG2000_PIXELS)
    limits.check_bytes(len(stream), limits.MAX_JPEG2000_BYTES)
    limits.check_memory(_JPEG2000_PIXEL * header.rows * header.columns + 5 * len(frame))
    out = _empty(shape, header.precision, header.signed)
    return DecodedFrame(imagecodecs.jpeg2k_decode(stream, numthreads=1, out=out), header.precision, header.signed)


def _decode_rle(frame: bytes, shape: tuple[int, int], bits_allocated: int) -> DecodedFrame:
    """Samples of an RLE frame: one PackBits segment for each byte of a sample, the most significant first.

    Source: DICOM PS3.5, Annex G.
    """
    pixels = shape[0] * shape[1]
    segments = bits_allocated // 8
    limits.check_memory(_RLE_PIXEL * pixels + 3 * len(frame))
    if len(frame) < 64:
        raise ValueError("truncated RLE header")
    count, *offsets = struct.unpack("<16L", frame[:64])
    if count != segments:
        raise ValueError(f"{count} RLE segments where {segments} were expected")
    ends = [*offsets[1:count], len(frame)]
    samples = np.empty((*shape, segments), dtype=np.uint8)
    for byte, (start, end) in enumerate(zip(offsets[:count], ends, strict=True)):
        decoded = imagecodecs.packbits_decode(frame[start:end], out=bytearray(pixels + _FILL))
        if len(decoded) < pixels:
            raise ValueError(f"truncated RLE segment: {len(decoded)} bytes where {pixels} were expected")
        # Little-endian order of the bytes in memory.
        samples[:, :, segments - 1 - byte] = np.frombuffer(decoded, np.uint8, pixels).reshape(shape)
    return DecodedFrame(samples.view(f"<u{segments}")[:, :, 0], None)


def _empty(shape: tuple[int, int], precision: int, signed: bool = False) -> NDArray[np.integer]:
    return np.empty(shape, dtype=f"{'i' if signed else 'u'}{1 if precision <= 8 else 2}")
