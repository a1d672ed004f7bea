"""Descriptions of a site's images on disk, which survive a kill."""

from dataclasses import replace

import numpy as np
import pytest

from pneumoscope.adaptation import site
from pneumoscope.adaptation.site import Resumable, describe_site
from pneumoscope.bundle import find_bundle
from pneumoscope.data.patients import patients_of
from pneumoscope.data.sources import open_source
from pneumoscope.inference.pool import WorkerPool
from pneumoscope.types import ImageHeader


@pytest.fixture
def described(phantoms, tmp_path):
    """Description of the phantom images by `nano`, with its descriptions on disk and the pool."""
    source = open_source(phantoms)
    with WorkerPool(find_bundle("nano"), 1) as pool:

        def describe(settings=None, rejected_too=False, pool=pool):
            stored = Resumable(tmp_path / "kept", settings or {"a": 1})
            return describe_site(pool, source, stored, lambda done, total: None, rejected_too)

        yield describe, source, tmp_path / "kept"


class NoPool:
    """Pool that must not be asked for anything."""

    def run(self, tasks):
        assert list(tasks) == []
        return iter(())


def test_descriptions_are_read_back_as_they_were(described):
    describe, *_ = described
    first = describe()
    again = describe(pool=NoPool())
    assert (again.paths, again.sha256, again.headers) == (first.paths, first.sha256, first.headers)
    for name in ("features", "style", "file_properties", "parent_probability"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))
    np.testing.assert_array_equal(again.variants.features, first.variants.features)
    assert again.rejected == first.rejected


def test_descriptions_of_other_settings_or_other_bytes_or_half_a_file_are_made_anew(described):
    describe, source, kept = described
    first = describe()
    with pytest.raises(AssertionError):
        describe({"a": 2}, pool=NoPool())
    describe({"a": 2})
    half = sorted(kept.glob("*.npz"))[1]
    half.write_bytes(half.read_bytes()[:1000])
    with pytest.raises(AssertionError):
        describe({"a": 2}, pool=NoPool())
    again = describe({"a": 2})
    np.testing.assert_array_equal(again.features, first.features)
    assert Resumable(kept, {"a": 2}).load(0, [source.file_of(image.path) for image in source.images[1:17]]) is None


def test_images_that_a_bundle_rejects_are_described_where_that_is_wanted(described):
    describe, source, _ = described
    few, every = describe(), describe({"a": 3}, rejected_too=True)
    assert len(few) + len(few.rejected_images) == len(every) == len(source.images)
    assert {each.reason for each in few.rejected_images} == set(few.rejected)


def test_copies_count_once_and_one_name_for_all_names_nobody(phantoms):
    def described(sha256, patient, row):
        return site._Described(sha256, "" if row else "inverted", ImageHeader(patient=patient), row)

    source = open_source(phantoms)
    images = [replace(image, known_name=False) for image in source.images[:4]]
    pairs = [
        (images[0], described("a", "ANON", {"x": 1})),
        (images[1], described("b", "ANON", {})),
        (images[2], described("b", "ANON", {})),
    ]
    headers = [each.header for _, each in pairs]
    assert patients_of(images[:3], headers, "abc") == ([image.patient for image in images[:3]], [False] * 3)
    assert [each.sha256 for _, each in site._once(pairs)] == ["a", "b"]
    headers[1] = ImageHeader(patient="other")
    assert patients_of(images[:3], headers, "abc") == (["header/ANON", "header/other", "header/ANON"], [True] * 3)
    # One content is of one patient, under whatever names.
    assert patients_of(images[:3], [None] * 3, "aba")[0] == [images[0].patient, images[1].patient, images[0].patient]
