import contextlib
import io
import os
import socket
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from pneumoscope.data.reading import read_bytes, read_grey
from pneumoscope.errors import UnreadableImage


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def grey(rng):
    return np.kron(rng.integers(0, 256, (6, 7), dtype=np.uint8), np.ones((8, 8), dtype=np.uint8))


def test_png_is_read_exactly(grey):
    assert np.array_equal(read_grey(Path("a.png"), encoded(Image.fromarray(grey), "PNG")), grey)


def test_jpeg_equals_pillows_full_decoding(grey):
    content = encoded(Image.fromarray(grey), "JPEG", quality=90)
    assert np.array_equal(read_grey(Path("a.jpeg"), content), np.asarray(Image.open(io.BytesIO(content))))


def test_colour_jpeg_gives_its_luma(rng):
    colour = np.kron(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8), np.ones((16, 16, 1), dtype=np.uint8))
    content = encoded(Image.fromarray(colour), "JPEG", quality=95, subsampling=0)
    decoded = Image.open(io.BytesIO(content))
    decoded.draft("L", decoded.size)
    assert np.array_equal(read_grey(Path("a.jpeg"), content), np.asarray(decoded.convert("L")))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "1"])
def test_png_modes_give_grey(grey, mode):
    film = read_grey(Path("a.png"), encoded(Image.fromarray(grey).convert(mode), "PNG"))
    assert film.shape == grey.shape
    assert film.dtype == np.uint8
    if mode not in ("P", "1"):
        assert np.array_equal(film, grey)


def test_cmyk_jpeg_is_read(grey):
    film = read_grey(Path("a.jpeg"), encoded(Image.fromarray(grey).convert("CMYK"), "JPEG"))
    assert film.shape == grey.shape


def test_sixteen_bit_png_keeps_its_depth(grey):
    deep = grey.astype(np.uint16) * 257 - (grey > 0)
    film = read_grey(Path("a.png"), encoded(Image.fromarray(deep), "PNG"))
    assert film.dtype == np.uint16
    assert np.array_equal(film, deep)


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_png_that_uses_fewer_of_its_sixteen_bits_is_brought_to_the_full_range(grey, bits):
    most = 2**bits - 1
    shallow = np.rint(grey / grey.max() * most).astype(np.uint16)
    film = read_grey(Path("a.png"), encoded(Image.fromarray(shallow), "PNG"))
    assert film.max() == 65535
    np.testing.assert_allclose(film / 65535, shallow / most, atol=1e-5)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_image_is_put_upright(grey, kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(Image.fromarray(grey), kind, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    assert np.array_equal(read_grey(Path("a"), content), np.asarray(expected))


def test_more_bytes_than_any_image_has_are_not_read(tmp_path):
    with (tmp_path / "a.png").open("wb") as stream:
        stream.truncate(1 << 40)  # takes no space, but would fill the memory
    with pytest.raises(UnreadableImage, match="1099511627776 bytes are more than 210000000"):
        read_grey(tmp_path / "a.png")


def test_a_file_that_grows_is_read_to_the_limit_only(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(bytes(3000))
    monkeypatch.setattr("pneumoscope.data.reading.MAX_BYTES", 1000)
    size = os.fstat
    monkeypatch.setattr("os.fstat", lambda handle: os.stat_result([*size(handle)[:6], 500, *size(handle)[7:10]]))
    with pytest.raises(UnreadableImage, match="3000 bytes are more than 1000"):
        read_grey(tmp_path / "a.png")


def test_a_file_that_says_it_is_empty_is_read():
    assert read_bytes(Path("/proc/self/status")).startswith(b"Name:")


def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for name in (tmp_path / "pipe", tmp_path / "folder", tmp_path / "link", Path("/dev/zero"), Path("/dev/null")):
        with pytest.raises(UnreadableImage, match="not a regular file"):
            read_grey(name)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        with pytest.raises(UnreadableImage, match="not a regular file"):
            read_grey(tmp_path / "socket")


def test_a_link_to_an_image_is_read(tmp_path, grey):
    (tmp_path / "a.png").write_bytes(encoded(Image.fromarray(grey), "PNG"))
    (tmp_path / "link").symlink_to(tmp_path / "a.png")
    assert np.array_equal(read_grey(tmp_path / "link"), grey)


@pytest.mark.parametrize(
    "error", [RecursionError(), MemoryError(), zlib.error("bad"), KeyError("x"), AttributeError("y")]
)
def test_whatever_a_decoder_raises_is_an_unreadable_image(error, monkeypatch):
    def fail(*_):
        raise error

    for name in ("_decode_jpeg", "_decode_dicom", "_decode_png"):
        monkeypatch.setattr(f"pneumoscope.data.reading.{name}", fail)
    for start in (b"\xff\xd8", b"\x89PNG\r\n\x1a\n", bytes(128) + b"DICM"):
        with pytest.raises(UnreadableImage, match="replace it"):
            read_grey(Path("a"), start)


@pytest.mark.parametrize("shape", [(2, 3, 4), (0, 5), (7,)])
def test_only_images_of_two_dimensions_are_given(shape, monkeypatch):
    monkeypatch.setattr("pneumoscope.data.reading._decode", lambda _: (np.zeros(shape, np.uint8), None))
    with pytest.raises(UnreadableImage, match="decoded to uint8 of shape"):
        read_grey(Path("a"), b"x")


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_orientation_may_stand_in_xmp(grey, kind):
    packet = b'<x:xmpmeta><rdf tiff:Orientation="6"/></x:xmpmeta>'
    exif = Image.Exif()
    exif[0x010E] = "no orientation"
    information = PngInfo()
    information.add_itxt("XML:com.adobe.xmp", packet.decode())
    options = {"xmp": packet, "exif": exif} if kind == "JPEG" else {"pnginfo": information}
    content = encoded(Image.fromarray(grey), kind, **options)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    assert expected.size == grey.shape
    assert np.array_equal(read_grey(Path("a"), content), np.asarray(expected))


def test_metadata_do_not_change_the_image(grey):
    information = PngInfo()
    information.add_text("Comment", "x" * 2_000_000)
    content = encoded(Image.fromarray(grey), "PNG", pnginfo=information, icc_profile=bytes(5000))
    assert np.array_equal(read_grey(Path("a.png"), content), grey)
    plain = encoded(Image.fromarray(grey).convert("CMYK"), "JPEG")
    described = encoded(Image.fromarray(grey).convert("CMYK"), "JPEG", icc_profile=bytes(200_000), comment=b"x")
    assert np.array_equal(read_grey(Path("a"), described), read_grey(Path("a"), plain))


def test_a_large_image_equals_pillows_full_decoding(rng):
    deep = rng.integers(0, 1000, (1700, 1500), dtype=np.uint16)  # more than is converted at once
    image = read_grey(Path("a.png"), encoded(Image.fromarray(deep), "PNG"))
    assert np.array_equal(image, np.rint(deep * (65535 / 1023)).astype(np.uint16))
    colour = Image.fromarray(rng.integers(0, 256, (1700, 1500, 3), dtype=np.uint8))
    assert np.array_equal(read_grey(Path("a.png"), encoded(colour, "PNG")), np.asarray(colour.convert("L")))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_truncated_image_is_refused(kind, rng):
    noise = Image.fromarray(rng.integers(0, 256, (64, 64), dtype=np.uint8))
    content = encoded(noise, kind)
    with pytest.raises(
        UnreadableImage, match=r"expected a whole JPEG, PNG or DICOM image, found a\.img \(.+\): replace it"
    ):
        read_grey(Path("a.img"), content[: len(content) * 2 // 3])


@pytest.mark.parametrize("content", [b"", b"\xff\xd8", b"hello", b"\x89PNG\r\n\x1a\n", b"GIF89a" + bytes(40)])
def test_other_bytes_are_refused(content):
    with pytest.raises(UnreadableImage, match="replace it"):
        read_grey(Path("a.png"), content)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(UnreadableImage, match="No such file"):
        read_grey(tmp_path / "none.png")


def test_decompression_bomb_is_refused():
    bomb = encoded(Image.new("1", (20_000, 20_000)), "PNG")
    with pytest.raises(UnreadableImage, match="pixels"):
        read_grey(Path("bomb.png"), bomb)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 400), st.binary(min_size=1, max_size=8))
def test_damaged_jpeg_is_read_or_refused_but_never_crashes(place, noise):
    content = bytearray(encoded(Image.new("L", (16, 16), 90), "JPEG"))
    content[place % len(content) : place % len(content) + len(noise)] = noise
    with contextlib.suppress(UnreadableImage):
        assert read_grey(Path("a.jpeg"), bytes(content)).ndim == 2


@pytest.mark.parametrize(
    ("kind", "name"), [("TIFF", "TIFF"), ("BMP", "BMP"), ("GIF", "GIF"), ("WEBP", "WebP"), ("JPEG2000", "JPEG 2000")]
)
def test_other_formats_are_refused_by_their_names(grey, kind, name):
    with pytest.raises(UnreadableImage, match=f"a {name} image, which is not supported; convert it to PNG"):
        read_grey(Path("scan"), encoded(Image.fromarray(grey), kind))
