"""Every transfer syntax gives the pixels that it gave by the codecs in use before: pylibjpeg-libjpeg, -openjpeg, pydicom."""

import base64
import hashlib
import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import UID

from pneumoscope.data.codecs import decode_frame
from pneumoscope.data.reading import read_grey
from pneumoscope.errors import UnsupportedDicom

# Written by benchmarks/codecs.py --streams.
STREAMS = json.loads(Path(__file__).with_name("codec_streams.json").read_text())
LIBRARYS = Path(pydicom.__file__).parent / "data" / "test_files"
# Of the grey levels that the codecs before gave; JPGExtended is lossy, and each codec rounds in its own way.
LIBRARYS_GREY = {
    "693_J2KI.dcm": "0a047a78b8c54282",
    "CT_small.dcm": "2b373fa0fc783fa9",
    "J2K_pixelrep_mismatch.dcm": "e88a54639e8cee35",
    "JPEG2000.dcm": "549ffbad26fa83b6",
    "JPEGLSNearLossless_08.dcm": "7504469269446e0f",
    "JPEGLSNearLossless_16.dcm": "f929318278115ce9",
    "JPGExtended.dcm": "a9b32d67562fd900",
    "MR_small.dcm": "3a2d72e6c3cd7384",
    "MR_small_RLE.dcm": "3a2d72e6c3cd7384",
    "MR_small_bigendian.dcm": "3a2d72e6c3cd7384",
    "MR_small_expb.dcm": "3a2d72e6c3cd7384",
    "MR_small_implicit.dcm": "3a2d72e6c3cd7384",
    "MR_small_jp2klossless.dcm": "3a2d72e6c3cd7384",
    "MR_small_jpeg_ls_lossless.dcm": "3a2d72e6c3cd7384",
    "MR_small_padded.dcm": "3a2d72e6c3cd7384",
    "examples_overlay.dcm": "4850df3d88f95f72",
    "image_dfl.dcm": "914f4357cd6556c2",
}


def samples_of(facts):
    stream = base64.b64decode(facts["stream"])
    return decode_frame(stream, UID(facts["syntax"]), (facts["rows"], facts["columns"]), facts["allocated"]).samples


@pytest.mark.parametrize("facts", STREAMS, ids=lambda facts: facts["name"])
def test_each_syntax_gives_the_stored_samples(facts):
    samples = samples_of(facts).astype("<u2")
    assert hashlib.sha256(samples.tobytes()).hexdigest() == facts["sha256"]
    if "reference" in facts:  # lossy JPEG, where libjpeg-turbo and the codec before round differently
        reference = np.frombuffer(base64.b64decode(facts["reference"]), "<u2").reshape(samples.shape)
        assert np.abs(samples.astype(int) - reference).max() <= 1


def test_only_lossy_jpeg_differs_from_the_codecs_before():
    assert {facts["name"] for facts in STREAMS if "reference" in facts} == {"small-baseline-8", "small-extended-12"}
    assert len({facts["syntax"] for facts in STREAMS}) == 10


@pytest.mark.parametrize("name", LIBRARYS_GREY)
def test_pydicoms_objects_give_the_grey_levels_they_gave(name):
    grey = read_grey(LIBRARYS / name)
    assert hashlib.sha256(grey.astype("<u2").tobytes()).hexdigest()[:16] == LIBRARYS_GREY[name]


def test_a_stream_without_its_end_is_not_decoded():
    for facts in STREAMS:
        stream = base64.b64decode(facts["stream"])
        cut = facts | {"stream": base64.b64encode(stream[: len(stream) * 2 // 3])}
        with pytest.raises(Exception, match=r"(?i)truncated|failed|corrupt|invalid"):
            samples_of(cut)


def test_other_syntaxes_are_refused():
    for syntax in (pydicom.uid.MPEG2MPML, UID("1.2.840.10008.1.2.4.92")):
        with pytest.raises(UnsupportedDicom, match="transfer syntax"):
            decode_frame(b"", syntax, (1, 1), 8)
