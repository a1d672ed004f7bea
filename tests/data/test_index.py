import hashlib

import numpy as np
import pytest
from PIL import Image

from pneumoscope.data.index import build_index, load_index, save_index
from pneumoscope.data.sources import open_source
from pneumoscope.errors import DataError
from pneumoscope.types import Split


def test_row_describes_the_file(phantoms):
    source = open_source(phantoms)
    progress = []
    index = build_index(source, lambda done, total: progress.append((done, total)))
    row = index.rows[0]
    file = phantoms / row.path
    assert row.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert row.bytes == file.stat().st_size
    with Image.open(file) as image:
        assert (row.width, row.height) == image.size
    assert progress[-1] == (len(source.images), len(source.images)) == (72, 72)


def test_rows_are_sorted_and_the_hash_is_of_the_content(phantoms):
    one, two = build_index(open_source(phantoms)), build_index(open_source(phantoms))
    assert [row.path for row in one.rows] == sorted(row.path for row in one.rows)
    assert one.hash == two.hash
    assert len(one.positions(Split.TEST)) == 12


def test_index_survives_a_round_trip(phantoms, tmp_path):
    index = build_index(open_source(phantoms))
    save_index(index, tmp_path / "index.csv")
    again = load_index(tmp_path / "index.csv")
    assert again.rows == index.rows
    assert again.hash == index.hash


@pytest.mark.parametrize(
    "text", [None, "path,sha256\na,b\n", "path,sha256,finding,etiology,patient,split\n1,2,3,4,5,6\n"]
)
def test_other_tables_are_refused(tmp_path, text):
    file = tmp_path / "index.csv"
    if text is not None:
        file.write_text(text)
    with pytest.raises(DataError, match=r"expected an index\.csv"):
        load_index(file)


def test_unreadable_images_are_listed_with_their_reason(tmp_path, rng):
    (tmp_path / "normal").mkdir()
    Image.fromarray(rng.integers(0, 256, (9, 9), dtype=np.uint8)).save(tmp_path / "normal/a.png")
    (tmp_path / "normal/b.png").write_bytes(b"broken")
    index = build_index(open_source(tmp_path))
    assert [row.path for row in index.rows] == ["normal/a.png"]
    assert index.unreadable[0][0] == "normal/b.png"
    assert "not an image" in index.unreadable[0][1]


def test_missing_file_of_a_table_is_listed_as_unreadable(tmp_path, rng):
    Image.fromarray(rng.integers(0, 256, (9, 9), dtype=np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "films.csv").write_text("path,class\na.png,normal\nnone.png,normal\n")
    index = build_index(open_source(tmp_path / "films.csv"))
    assert "No such file" in index.unreadable[0][1]


def test_no_whole_image_at_all_is_an_error(tmp_path):
    (tmp_path / "normal").mkdir()
    (tmp_path / "normal/a.png").write_bytes(b"broken")
    with pytest.raises(DataError, match="expected at least one whole image"):
        build_index(open_source(tmp_path))


def test_measurements_reflect_sharpness_contrast_and_compression(tmp_path, rng):
    (tmp_path / "normal").mkdir()
    noise = rng.integers(0, 256, (224, 224), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "normal/a.jpeg", quality=95)
    Image.fromarray(noise).save(tmp_path / "normal/b.jpeg", quality=30)
    Image.new("L", (224, 224), 100).save(tmp_path / "normal/c.png")
    fine, coarse, blank = build_index(open_source(tmp_path)).measurements
    assert fine.bytes_per_pixel > coarse.bytes_per_pixel
    assert fine.quantisation < coarse.quantisation
    assert fine.sharpness > 1000 > blank.sharpness == 0
    assert fine.contrast > 50 > blank.contrast == 0
    assert blank.brightness == 100
    assert np.isnan(blank.quantisation)
