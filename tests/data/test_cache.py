import json
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from pneumoscope.config import Preprocessing
from pneumoscope.data.cache import cached_images
from pneumoscope.data.index import build_index
from pneumoscope.data.preprocessing import prepare
from pneumoscope.data.sources import open_source
from pneumoscope.errors import DataError

SMALL = Preprocessing(height=32, width=32)


@pytest.fixture(scope="module")
def source(phantoms):
    return open_source(phantoms)


@pytest.fixture(scope="module")
def index(source):
    return build_index(source)


class Counted:
    """Report that counts stages and decoded images."""

    def __init__(self):
        self.stages, self.images = [], 0

    def __call__(self, stage):
        self.stages.append(stage)
        return self.follow

    def follow(self, done, total):
        self.images = done


def test_images_equal_preprocessed_ones(source, index, tmp_path):
    images = cached_images(source, index, SMALL, tmp_path)
    assert isinstance(images, np.memmap)
    assert (images.dtype, images.shape) == (np.uint8, (72, 32, 32))
    for i in (0, 35, 71):
        assert np.array_equal(images[i], prepare(source.read(index.rows[i].path), SMALL))


def test_second_call_decodes_nothing(source, index, tmp_path):
    first, second = Counted(), Counted()
    cached_images(source, index, SMALL, tmp_path, first)
    cached_images(source, index, SMALL, tmp_path, second)
    assert (first.stages, first.images) == (["films decoded"], 72)
    # A stage that begins and never ends would be shown as if images were still being decoded.
    assert (second.stages, second.images) == ([], 0)


def test_other_settings_or_images_get_a_cache_of_their_own(source, index, tmp_path):
    cached_images(source, index, SMALL, tmp_path)
    cached_images(source, index, replace(SMALL, fit="pad"), tmp_path)
    assert len(list(tmp_path.glob("*.npy"))) == 2
    fewer = replace(index, rows=index.rows[1:], measurements=index.measurements[1:])
    assert len(cached_images(source, fewer, SMALL, tmp_path)) == 71


@pytest.mark.parametrize("damage", ["flip a byte", "cut it short", "remove it", "spoil the manifest", "other key"])
def test_damaged_or_stale_cache_is_rebuilt(source, index, tmp_path, damage):
    good = np.array(cached_images(source, index, SMALL, tmp_path))
    (array,), (manifest,) = tmp_path.glob("*.npy"), tmp_path.glob("*.json")
    content = bytearray(array.read_bytes())
    if damage == "flip a byte":
        content[-5] ^= 1
        array.write_bytes(bytes(content))
    elif damage == "cut it short":
        array.write_bytes(bytes(content[:-100]))
    elif damage == "remove it":
        array.unlink()
    elif damage == "spoil the manifest":
        manifest.write_text("{")
    else:
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"key": "0"}))
    counted = Counted()
    assert np.array_equal(cached_images(source, index, SMALL, tmp_path, counted), good)
    assert counted.images == 72


def test_image_that_changed_since_the_index_is_an_error_and_leaves_nothing(source, index, tmp_path):
    altered = replace(index, rows=(replace(index.rows[0], sha256="0" * 64), *index.rows[1:]))
    with pytest.raises(DataError, match="as it was indexed, found other bytes"):
        cached_images(source, altered, SMALL, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 64 kB, really mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_full_disk_is_one_line_and_leaves_nothing(source, index, tiny_disk):
    with pytest.raises(DataError, match=r"expected free disk space for .*, found \d+ MB free: free some space"):
        cached_images(source, index, SMALL, tiny_disk)
    assert list(tiny_disk.iterdir()) == []
