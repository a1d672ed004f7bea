import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from sklearn.metrics import roc_auc_score

from pneumoscope.data.audit import audit, near_duplicate_pairs
from pneumoscope.data.index import build_index
from pneumoscope.data.phantom import PhantomPlan, write_phantoms
from pneumoscope.data.sources import open_source
from pneumoscope.errors import DataError, LeakageError
from pneumoscope.reporting.markdown import markdown_page
from pneumoscope.reporting.page import Section
from pneumoscope.types import Finding, Split


@pytest.fixture
def images(tmp_path, phantoms):
    """Ten phantoms to damage."""
    counts = (("train", "NORMAL", 3), ("train", "PNEUMONIA", 3), ("test", "NORMAL", 2), ("test", "PNEUMONIA", 2))
    for split, name, count in counts:
        folder = tmp_path / split / name
        folder.mkdir(parents=True)
        for file in sorted((phantoms / split / name).iterdir())[: 2 * count : 2]:
            (folder / file.name).write_bytes(file.read_bytes())
    return tmp_path


def audited(root):
    return audit(build_index(open_source(root)))


def codes(result):
    return {finding.code: finding for finding in result.findings}


def test_sound_images_give_no_finding(images):
    result = audited(images)
    assert result.findings == ()
    result.raise_for_errors()


def test_truncated_image_is_an_error_unless_skipped(images):
    file = next((images / "train/NORMAL").iterdir())
    file.write_bytes(file.read_bytes()[:2000])
    result = audited(images)
    assert codes(result)["unreadable"].images == (f"train/NORMAL/{file.name}",)
    with pytest.raises(DataError, match=r"1 film that cannot be read .*--skip-unreadable"):
        result.raise_for_errors()
    result.raise_for_errors(skip_unreadable=True)


def test_blank_image_is_a_warning(images):
    Image.new("L", (300, 300), 7).save(images / "train/NORMAL/IM-0900-0001.png")
    finding = codes(audited(images))["blank"]
    assert (finding.severity, finding.images) == ("warning", ("train/NORMAL/IM-0900-0001.png",))


def test_copies_in_one_split_are_a_warning(images):
    file = sorted((images / "train/NORMAL").iterdir())[0]
    (images / "train/NORMAL/IM-0900-0001.jpeg").write_bytes(file.read_bytes())
    found = codes(audited(images))
    assert found["duplicate"].groups == 1
    assert found["duplicate"].severity == "warning"
    assert "duplicate_across_splits" not in found


def test_copies_in_two_splits_are_leakage(images):
    file = sorted((images / "train/NORMAL").iterdir())[0]
    (images / "test/NORMAL/IM-0900-0001.jpeg").write_bytes(file.read_bytes())
    with pytest.raises(LeakageError, match="1 byte-identical group in two"):
        audited(images).raise_for_errors()


def test_the_same_bytes_with_two_labels_are_a_conflict(images):
    file = sorted((images / "train/NORMAL").iterdir())[0]
    (images / "train/PNEUMONIA/person9_virus_9.jpeg").write_bytes(file.read_bytes())
    with pytest.raises(DataError, match="one label for one film"):
        audited(images).raise_for_errors()


def test_folder_against_name_is_a_conflict(images):
    file = next((images / "train/NORMAL").iterdir())
    file.rename(file.with_name("person7_virus_7.jpeg"))
    with pytest.raises(DataError, match="the folder says normal, the name says viral"):
        audited(images).raise_for_errors()


def test_a_reworked_copy_in_two_splits_is_leakage(images):
    file = sorted((images / "train/PNEUMONIA").iterdir())[0]
    image = Image.open(file)
    copy = ImageEnhance.Brightness(image.resize((image.width * 2 // 3, image.height * 2 // 3))).enhance(0.9)
    (images / "test/PNEUMONIA").mkdir(exist_ok=True)
    copy.save(images / "test/PNEUMONIA/person900_bacteria_1.jpeg", quality=60)
    with pytest.raises(LeakageError, match="1 near-duplicate pair in two"):
        audited(images).raise_for_errors()


def test_patient_in_two_splits_is_leakage(phantoms):
    index = build_index(open_source(phantoms))
    splits = [row.split for row in index.rows]
    moved = next(i for i, row in enumerate(index.rows) if row.split is Split.TRAIN)
    splits[moved] = Split.VALIDATION
    result = audit(index, splits)
    assert codes(result)["patient_on_two_sides"].groups == 1
    with pytest.raises(LeakageError, match="every patient in one split, found 1 in two"):
        result.raise_for_errors()


def test_unknown_names_are_reported(images):
    file = next((images / "train/NORMAL").iterdir())
    file.rename(file.with_name("scan.jpeg"))
    assert codes(audited(images))["unknown_name"].images == ("train/NORMAL/scan.jpeg",)


def test_near_duplicates_equal_a_comparison_of_all_pairs(phantoms, monkeypatch):
    index = build_index(open_source(phantoms))
    hashes = [int(m.difference_hash, 16) for m in index.measurements]
    for bits in (40, 60):
        monkeypatch.setattr("pneumoscope.data.audit.NEAR_DUPLICATE_BITS", bits)
        plain = [
            (i, j)
            for i in range(len(hashes))
            for j in range(i + 1, len(hashes))
            if (hashes[i] ^ hashes[j]).bit_count() <= bits
        ]
        assert near_duplicate_pairs(index) == plain
    assert plain


def test_file_cues_equal_scikit_learn_and_the_verdict_names_the_strongest(phantoms):
    index = build_index(open_source(phantoms))
    label = np.array([row.finding is Finding.PNEUMONIA for row in index.rows])
    leaking = [
        replace(m, bytes_per_pixel=float(m.bytes_per_pixel + (0 if positive else 9)))
        for m, positive in zip(index.measurements, label, strict=True)
    ]
    result = audit(replace(index, measurements=tuple(leaking)))
    train = np.array([row.split is Split.TRAIN for row in index.rows])
    contrast = np.array([m.contrast for m in index.measurements])
    cue = next(c for c in result.cues if c.split is Split.TRAIN and c.name == "contrast")
    expected = roc_auc_score(label[train], contrast[train])
    assert cue.auc.value == pytest.approx(max(expected, 1 - expected))
    assert cue.auc.low < cue.auc.value < cue.auc.high
    assert cue.higher_in == ("pneumonia" if expected >= 0.5 else "normal")
    assert cue.to_dict()["normal_median"] == pytest.approx(np.median(contrast[train & ~label]))
    assert result.verdict.startswith("The file predicts the label: bytes per pixel alone")
    assert "AUC 1.000" in result.verdict


def test_auc_of_a_cue_has_the_direction_of_the_training_images_in_the_test_images_too(tmp_path):
    index = build_index(open_source(write_phantoms(tmp_path, PhantomPlan(train=10, test=10))))
    turned = [
        replace(m, bytes_per_pixel=float((row.finding is Finding.PNEUMONIA) == (row.split is Split.TEST)))
        for m, row in zip(index.measurements, index.rows, strict=True)
    ]
    result = audit(replace(index, measurements=tuple(turned)))
    train, test = (c for c in result.cues if c.name == "bytes per pixel")
    assert (train.higher_in, test.higher_in) == ("normal", "normal")
    assert (train.auc.value, test.auc.value) == (1, 0)
    assert (
        "bytes per pixel alone, higher in normal, separates pneumonia from normal in train with AUC 1.000"
        in result.verdict
    )
    assert re.search(r"in test with 0\.000.*, that is, the other way\.", result.verdict)


def test_verdict_without_any_cue(tmp_path):
    (tmp_path / "normal").mkdir()
    Image.new("L", (9, 9), 7).save(tmp_path / "normal/a.png")
    found = audited(tmp_path)
    assert (
        found.verdict
        == "The files were not compared: 10 training films of each class are needed, found 1 normal, 0 pneumonia."
    )
    assert [finding.code for finding in found.findings if finding.code == "missing_class"] == ["missing_class"]
    assert not any(cue.is_known for cue in found.cues)


def test_a_class_that_is_missing_in_a_split_is_named(images):
    for file in (images / "test" / "NORMAL").iterdir():
        file.unlink()
    [found] = [finding for finding in audited(images).findings if finding.code == "missing_class"]
    assert found.severity == "warning"
    assert re.fullmatch(r"test has no normal films, and 2 pneumonia: .*", found.message)


def test_properties_that_do_not_vary_are_named(tmp_path, rng):
    for number in range(24):
        folder = tmp_path / ("normal" if number % 2 else "pneumonia")
        folder.mkdir(exist_ok=True)
        noise = rng.integers(0, 256, (9, 9), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.bmp", format="png")
    verdict = audited(tmp_path).verdict
    assert re.search(
        r" alone, higher in (normal|pneumonia), separates pneumonia from normal in train with AUC 0\.", verdict
    )
    assert "same for every film or unknown: JPEG quantisation, aspect ratio, bytes per pixel, height, width" in verdict


def test_markdown_of_a_page_has_text_and_tables():
    sections = [Section("One", ["a", "b"]), Section("Two", [], header=["x"], rows=[["1|2"]])]
    expected = "# Title\n\nlead\n\n## One\n\na\n\nb\n\n## Two\n\n| x |\n| --- |\n| 1\\|2 |\n"
    assert markdown_page("Title", sections, "lead") == expected
    assert markdown_page("Title", sections) == expected.replace("lead\n\n", "")
