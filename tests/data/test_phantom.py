import hashlib

import numpy as np
import pytest

from pneumoscope.data.audit import audit
from pneumoscope.data.index import build_index
from pneumoscope.data.phantom import PhantomPlan, phantom_image, write_phantoms
from pneumoscope.data.sources import open_source
from pneumoscope.errors import DataError


def digest(folder):
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(folder.rglob("*.jpeg"))}


def test_the_seed_determines_every_byte(tmp_path):
    plan = PhantomPlan(train=2, test=1, seed=7)
    one, two = write_phantoms(tmp_path / "a", plan), write_phantoms(tmp_path / "b", plan)
    assert digest(one) == digest(two)
    assert digest(one) != digest(write_phantoms(tmp_path / "c", PhantomPlan(train=2, test=1, seed=8)))


def test_complete_phantoms_are_kept_and_others_replaced(tmp_path):
    write_phantoms(tmp_path / "a", PhantomPlan(train=2, test=1))
    file = next((tmp_path / "a").rglob("*.jpeg"))
    before = file.stat().st_mtime_ns
    write_phantoms(tmp_path / "a", PhantomPlan(train=2, test=1))
    assert file.stat().st_mtime_ns == before
    write_phantoms(tmp_path / "a", PhantomPlan(train=3, test=1))
    assert len(list((tmp_path / "a").rglob("*.jpeg"))) == 12


def test_phantoms_pass_the_audit(phantoms):
    audit(build_index(open_source(phantoms))).raise_for_errors()


@pytest.mark.parametrize("word", ["bacteria", "virus"])
def test_opacities_brighten_the_lungs(word):
    def lung_brightness(name):
        images = [phantom_image(name, np.random.default_rng(i), 128) for i in range(12)]
        return np.mean([f[25:80, f.shape[1] // 5 : f.shape[1] * 4 // 5].mean() for f in images])

    assert lung_brightness(word) > lung_brightness("normal") + 3


def test_what_is_not_a_phantom_is_never_deleted(tmp_path):
    small, other = PhantomPlan(train=1, test=1), PhantomPlan(train=2, test=1)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="found 1 other files: name another folder"):
        write_phantoms(mine, small)
    folder = write_phantoms(tmp_path / "phantoms", small)
    write_phantoms(folder, other)
    film = folder / "train" / "NORMAL" / "IM-0001-0001.jpeg"
    (film.parent / "IM-9999-0001.jpeg").write_bytes(film.read_bytes())
    with pytest.raises(DataError, match="or one of phantoms alone"):
        write_phantoms(folder, small)
    assert (mine / "thesis.txt").read_text() == "mine"
    assert film.exists()


def test_what_an_interruption_leaves_is_replaced(tmp_path):
    folder = write_phantoms(tmp_path / "phantoms", PhantomPlan(train=2, test=1))
    (folder / "phantoms.json").write_text('{"whole": false}')
    next(folder.rglob("*.jpeg")).unlink()
    write_phantoms(folder, PhantomPlan(train=1, test=1))
    assert len(list(folder.rglob("*.jpeg"))) == 6
