import contextlib
import io
import struct
import tracemalloc
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.utils import compress
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    RLELossless,
)

from dicom_objects import dataset_of, written
from pneumoscope.data.reading import read_grey
from pneumoscope.errors import UnreadableImage, UnsupportedDicom

LIBRARYS = sorted(Path(pydicom.__file__).parent.joinpath("data", "test_files").rglob("*.dcm"))
READ = {
    *("693_J2KI.dcm", "CT_small.dcm", "J2K_pixelrep_mismatch.dcm", "JPEG2000.dcm", "JPEGLSNearLossless_08.dcm"),
    *(
        "JPEGLSNearLossless_16.dcm",
        "JPEG-lossy.dcm",
        "JPGExtended.dcm",
        "examples_overlay.dcm",
        "image_dfl.dcm",
        "MR_small.dcm",
    ),
    *(
        f"MR_small_{kind}.dcm"
        for kind in ("RLE", "bigendian", "expb", "implicit", "jp2klossless", "jpeg_ls_lossless", "padded")
    ),
}


def ramp():
    """32 rows of values 0, 64, ... 4032."""
    return np.tile(np.arange(0, 4096, 64, dtype=np.uint16), (32, 1))


def read(dataset):
    return read_grey(Path("a.dcm"), written(dataset))


def encoded_as(dataset, syntax, stream):
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([stream])
    dataset["PixelData"].VR = "OB"
    return dataset


def lossless_jpeg(stored, bits):
    """Process 14, selection value 1: what each pixel adds to its left neighbour, its length in 5 bits and then itself."""
    predicted = np.empty(stored.shape, dtype=np.int64)
    predicted[:, 1:] = stored[:, :-1]
    predicted[1:, 0] = stored[:-1, 0]
    predicted[0, 0] = 1 << (bits - 1)
    text = []
    for difference in (stored.astype(np.int64) - predicted).ravel().tolist():
        length = abs(difference).bit_length()
        text.append(f"{length:05b}")
        if length:
            text.append(f"{difference if difference > 0 else difference + (1 << length) - 1:0{length}b}")
    coded = "".join(text)
    coded += "1" * (-len(coded) % 8)
    scan = int(coded, 2).to_bytes(len(coded) // 8, "big").replace(b"\xff", b"\xff\x00")
    rows, columns = stored.shape
    lengths = bytes([0, 0, 0, 0, 17]) + bytes(11)
    return (
        b"\xff\xd8"
        + b"\xff\xc3" + struct.pack(">HBHHB3B", 11, bits, rows, columns, 1, 1, 0x11, 0)
        + b"\xff\xc4" + struct.pack(">HB", 19 + 17, 0) + lengths + bytes(range(17))
        + b"\xff\xda" + struct.pack(">HB2B3B", 8, 1, 1, 0, 1, 0, 0)
        + scan + b"\xff\xd9"
    )  # fmt: skip


def jpeg2000(stored):
    return imagecodecs.jpeg2k_encode(stored, bitspersample=12, reversible=True, codecformat="j2k")


def test_without_a_window_the_values_that_occur_are_stretched():
    film = read(dataset_of(ramp()))
    assert film.dtype == np.uint16
    np.testing.assert_allclose(film / 65535, ramp() / 4032, atol=1e-4)


def test_bright_is_dense_whatever_the_object_calls_white():
    usual, turned = (read(dataset_of(ramp(), PhotometricInterpretation=f"MONOCHROME{n}")) for n in (2, 1))
    np.testing.assert_array_equal(turned, 65535 - usual)


def test_a_window_is_applied_after_the_rescale():
    dataset = dataset_of(
        ramp(), RescaleSlope=2, RescaleIntercept=-1000, RescaleType="US", WindowCenter=1000, WindowWidth=801
    )
    meant = ramp() * 2.0 - 1000
    expected = ((meant - 999.5) / 800 + 0.5).clip(0, 1)
    np.testing.assert_allclose(read(dataset) / 65535, expected, atol=1e-4)


def test_of_several_windows_the_first_counts():
    one = dataset_of(ramp(), WindowCenter=1000, WindowWidth=500)
    several = dataset_of(ramp(), WindowCenter=[1000, 3000], WindowWidth=[500, 100])
    np.testing.assert_array_equal(read(one), read(several))


@pytest.mark.parametrize("width", [0, -5, ""])
def test_a_window_that_says_nothing_is_passed_over(width):
    film = read(dataset_of(ramp(), WindowCenter=1000, WindowWidth=width))
    np.testing.assert_array_equal(film, read(dataset_of(ramp())))


def test_a_table_of_shown_values_is_followed():
    table = Dataset()
    table.LUTDescriptor = [4096, 0, 16]
    table.LUTData = (65535 - np.arange(4096) * 16).astype(np.uint16).tobytes()
    table["LUTData"].VR = "OW"
    dataset = dataset_of(ramp(), VOILUTSequence=[table])
    np.testing.assert_allclose(read(dataset) / 65535, 1 - ramp() * 16.0 / 65535, atol=1e-4)


def test_signed_values_keep_their_order():
    stored = ramp().astype(np.int16) - 2048
    np.testing.assert_array_equal(read(dataset_of(stored, 16)), read(dataset_of(ramp())))


def test_padding_is_black_and_hot_pixels_do_not_darken_the_rest():
    stored = np.tile(ramp(), (4, 4))
    usual = read(dataset_of(stored))
    stored[5, 5] = 65535
    hot = read(dataset_of(stored, 16))
    assert hot[5, 5] == 65535
    assert np.abs(np.delete(hot.ravel(), 0).astype(int) - np.delete(usual.ravel(), 0)).max() <= 65535 - usual[5, 5]
    np.testing.assert_array_equal(hot[0], usual[0])
    stored[:, :8] = 65535
    padded = read(dataset_of(stored, 16, PixelPaddingValue=65535))
    assert (padded[:, :8] == 0).all()
    np.testing.assert_array_equal(padded[:, 8:], usual[:, 8:])


@pytest.mark.parametrize(
    "missing", ["PhotometricInterpretation", "SamplesPerPixel", "PixelRepresentation", "BitsStored", "HighBit"]
)
def test_what_objects_leave_out_has_its_usual_value(missing):
    stored = (ramp() // 16).astype(np.uint8)
    np.testing.assert_array_equal(read(dataset_of(stored, 8, **{missing: None})), read(dataset_of(stored, 8)))


def test_one_image_is_the_same_in_every_lossless_encoding():
    plain = read(dataset_of(ramp()))
    as_rle = dataset_of(ramp())
    compress(as_rle, RLELossless)
    np.testing.assert_array_equal(read(as_rle), plain)
    as_jpeg2000 = encoded_as(dataset_of(ramp()), JPEG2000Lossless, jpeg2000(ramp()))
    np.testing.assert_array_equal(read(as_jpeg2000), plain)
    as_jpeg = encoded_as(dataset_of(ramp()), JPEGLosslessSV1, lossless_jpeg(ramp(), 12))
    np.testing.assert_array_equal(read(as_jpeg), plain)
    deflated = dataset_of(ramp())
    deflated.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    np.testing.assert_array_equal(read(deflated), plain)


def test_the_librarys_own_object_is_the_same_in_all_its_encodings():
    names = ["bigendian", "expb", "implicit", "RLE", "jp2klossless", "jpeg_ls_lossless"]
    films = [read_grey(Path(get_testdata_file(f"MR_small_{n}.dcm", download=False))) for n in names]
    first = read_grey(Path(get_testdata_file("MR_small.dcm", download=False)))
    for film in films:
        np.testing.assert_array_equal(film, first)


def test_baseline_jpeg_is_what_the_jpeg_is():
    stored = (ramp() // 16).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(stored).save(buffer, "JPEG", quality=90)
    dataset = encoded_as(dataset_of(stored, 8, WindowCenter=128, WindowWidth=256), JPEGBaseline8Bit, buffer.getvalue())
    decoded = np.asarray(Image.open(buffer), dtype=float)
    np.testing.assert_allclose(read(dataset) / 65535, ((decoded - 127.5) / 255 + 0.5).clip(0, 1), atol=1e-4)


def test_a_file_without_preamble_is_read():
    content = written(dataset_of(ramp()))
    np.testing.assert_array_equal(read_grey(Path("a"), content[132:]), read_grey(Path("a"), content))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"NumberOfFrames": 2}, "2 frames"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, r"colour \(RGB\)"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "colour"),
        ({"PixelData": None}, "no image in it"),
        ({"Rows": None}, "no Rows"),
        ({"BitsAllocated": 32}, "32 bits a pixel"),
        ({"Rows": 60000, "Columns": 60000}, "60000 x 60000 pixels, more than"),
    ],
)
def test_what_is_no_single_grey_frame_is_refused_by_reason(change, reason):
    with pytest.raises(UnsupportedDicom, match=rf"expected one grey frame, found a\.dcm \({reason}.*\): export it"):
        read(dataset_of(ramp(), **change))


def test_a_stream_larger_than_the_object_says_is_not_decoded():
    for rows, columns in ((65535, 65535), (33, 64)):
        stream = bytearray(lossless_jpeg(ramp(), 12))
        stream[7:11] = struct.pack(">HH", rows, columns)
        with pytest.raises(UnsupportedDicom, match="pixels"):
            read(encoded_as(dataset_of(ramp()), JPEGLosslessSV1, bytes(stream)))


def test_a_deflated_bomb_costs_no_memory():
    dataset = dataset_of(np.zeros((8, 8), np.uint16))
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    head = written(dataset)
    head = head[: 144 + struct.unpack("<I", head[140:144])[0]]
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = b"".join(squeezer.compress(bytes(1 << 20)) for _ in range(400)) + squeezer.flush()
    tracemalloc.start()
    with pytest.raises(UnsupportedDicom, match="bytes once inflated"):
        read_grey(Path("bomb.dcm"), head + bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


@pytest.mark.parametrize("file", LIBRARYS, ids=lambda file: file.name)
def test_every_object_is_read_or_refused(file):
    if file.name in READ:
        film = read_grey(file)
        assert film.ndim == 2
        assert film.dtype == np.uint16
        assert np.ptp(film) > 0
    else:
        with pytest.raises(UnreadableImage, match=file.name.replace("+", r"\+")):
            read_grey(file)


def test_damaged_objects_are_read_or_refused(rng):
    for name in ("MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "CT_small.dcm"):
        content = Path(get_testdata_file(name, download=False)).read_bytes()
        for _ in range(40):
            damaged = bytearray(content)
            for place in rng.integers(0, len(damaged), 8):
                damaged[place] = rng.integers(0, 256)
            with contextlib.suppress(UnreadableImage):
                assert read_grey(Path("a.dcm"), bytes(damaged)).dtype == np.uint16
