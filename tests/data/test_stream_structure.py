"""Structure of JPEG and JPEG 2000 streams, read without decoding."""

import imagecodecs
import numpy as np
import pytest

from pneumoscope.data import jpeg, jpeg2000, limits

GREY = np.arange(64 * 48, dtype=np.uint16).reshape(64, 48)


def jp2(image):
    return bytes(imagecodecs.jpeg2k_encode(image, codecformat="jp2", level=0))


def test_codestream_is_found_in_a_file_and_by_itself():
    inside = jpeg2000.codestream(jp2(GREY))
    alone = bytes(imagecodecs.jpeg2k_encode(GREY, codecformat="j2k", level=0))
    for stream in (inside, jpeg2000.codestream(alone)):
        header = jpeg2000.image_header(stream)
        assert (header.rows, header.columns, header.components) == (64, 48, 1)
        assert (header.precision, header.signed, header.tiles) == (16, False, 1)
        jpeg2000.check_parts(stream, header)


@pytest.mark.parametrize("end", [0, 7, 12, 30])
def test_a_file_that_breaks_off_has_no_codestream(end):
    with pytest.raises(ValueError, match="no JPEG 2000 codestream"):
        jpeg2000.codestream(jp2(GREY)[:end])


def test_a_box_shorter_than_its_own_header_has_no_codestream_behind_it():
    whole = jp2(GREY)
    with pytest.raises(ValueError, match="no JPEG 2000 codestream"):
        jpeg2000.codestream(whole[:12] + b"\x00\x00\x00\x01xxxx" + whole[12:])


def test_an_image_that_ends_before_it_begins_is_damaged():
    stream = bytearray(jpeg2000.codestream(jp2(GREY)))
    stream[8:12] = stream[16:20]
    with pytest.raises(ValueError, match="damaged JPEG 2000 header"):
        jpeg2000.image_header(bytes(stream))


def test_more_tiles_than_a_radiograph_has_are_refused(monkeypatch):
    monkeypatch.setattr(limits, "MAX_JPEG2000_TILES", 11)
    stream = bytearray(jpeg2000.codestream(jp2(GREY)))
    stream[24:32] = (16).to_bytes(4) * 2
    with pytest.raises(ValueError, match="12 tiles"):
        jpeg2000.check_parts(bytes(stream), jpeg2000.image_header(bytes(stream)))


def baseline(image):
    return bytes(imagecodecs.jpeg8_encode(image))


def test_frame_header_and_scans_of_a_jpeg():
    stream = baseline(np.zeros((40, 24), np.uint8))
    assert jpeg.frame_header(stream) == jpeg.FrameHeader(0xC0, 8, 40, 24, 1)
    assert jpeg.check_scans(stream, 40 * 24) == 1
    assert jpeg.jpeg_orientation(stream) == 1


def test_a_jpeg_without_a_frame_or_cut_short_is_refused(monkeypatch):
    stream = baseline(np.zeros((40, 24), np.uint8))
    with pytest.raises(ValueError, match="truncated JPEG"):
        jpeg.frame_header(stream[:30])
    with pytest.raises(ValueError, match="without a frame header"):
        jpeg.frame_header(jpeg.START + jpeg.END)
    with pytest.raises(ValueError, match="without a frame header"):
        jpeg.frame_header(jpeg.START + b"\xff\xc0\x00\x04\x08\x00")
    monkeypatch.setattr(limits, "MAX_SCANS", 0)
    with pytest.raises(ValueError, match="1 scans of 960 pixels"):
        jpeg.check_scans(stream, 40 * 24)
    monkeypatch.setattr(limits, "MAX_SEGMENTS", 1)
    with pytest.raises(ValueError, match="more than 1 JPEG segments"):
        jpeg.frame_header(stream)


def test_metadata_is_left_out_and_the_pixels_are_the_same():
    image = np.random.default_rng(0).integers(0, 255, (40, 24)).astype(np.uint8)
    stream = baseline(image)
    comment = jpeg.START + b"\xff\xfe\x00\x06word" + b"\xff\xe2\x00\x06more" + stream[2:]
    bare = jpeg.without_metadata(comment)
    assert b"word" not in bare
    assert b"more" not in bare
    np.testing.assert_array_equal(imagecodecs.jpeg8_decode(bare), imagecodecs.jpeg8_decode(stream))


@pytest.mark.parametrize("packet", ['tiff:Orientation="6"', "<tiff:Orientation>6</tiff:Orientation>"])
def test_orientation_of_xmp_stands_in_for_a_missing_exif_block(packet):
    content = b"http://ns.adobe.com/xap/1.0/\x00" + packet.encode()
    stream = baseline(np.zeros((40, 24), np.uint8))
    segment = b"\xff\xe1" + (len(content) + 2).to_bytes(2) + content
    assert jpeg.jpeg_orientation(jpeg.START + segment + stream[2:]) == 6


def test_an_exif_block_without_a_tiff_header_is_damaged():
    with pytest.raises(ValueError, match="damaged Exif block"):
        jpeg.orientation(b"Exif\x00\x00nothing", b"")
