"""Leave-one-hospital-out on drawn hospitals: in one, pneumonias are the brighter images, in the other one the darker."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pneumoscope.config import SplitConfig, parse_config
from pneumoscope.data.dataset import load_dataset
from pneumoscope.data.locate import Location
from pneumoscope.errors import ConfigError, DataError, LeakageError
from pneumoscope.evaluation.intervals import Estimate
from pneumoscope.multi_site.leave_one_out import LeaveOneOut, Measured, Seen, leave_one_out
from pneumoscope.multi_site.report import sentences
from pneumoscope.multi_site.sites import Site, balanced_repeats, join_sites, load_sites, site_names
from pneumoscope.training.callbacks import Callbacks
from pneumoscope.types import Split

CONFIG = """
name = "small"
[model]
architecture = "nano"
freeze_base = false
[preprocessing]
height = 32
width = 32
[training]
optimiser = "adamw"
learning_rate = 3e-3
epochs = 4
patience = 4
batch_size = 16
precision = "fp32"
"""
LEVELS = {"bright": (90, 170), "dark": (170, 90)}


def write_hospital(folder, kind, images=60, test=6, seed=0):
    """Two images to a patient, a quarter of them normal; the last ones are published as the test."""
    rng = np.random.default_rng([seed, len(kind)])
    folder.mkdir()
    rows = ["path,class,patient,split"]
    for number in range(images + test):
        positive = number // 2 % 4 > 0
        level = LEVELS[kind][positive] + rng.integers(-15, 15)
        pixels = np.clip(rng.normal(level, 25, (32, 32)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        split = "train" if number < images else "test"
        rows.append(f"{number}.png,{'pneumonia' if positive else 'normal'},p{number // 2},{split}")
    table = folder / f"{kind}.csv"
    table.write_text("\n".join(rows))
    return table


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory):
    root = tmp_path_factory.mktemp("hospitals")
    return [write_hospital(root / kind, kind) for kind in LEVELS]


def sites_of(tables):
    return [Site(table.stem, Location(table, "")) for table in tables]


@pytest.fixture(scope="module")
def loaded(hospitals, tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("PNEUMOSCOPE_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield load_sites(sites_of(hospitals), parse_config(CONFIG, "test"), Callbacks().progress)
    patch.undo()


def test_hospitals_are_divided_by_patient_and_published_test_images_are_not_used(loaded, tmp_path):
    joined = join_sites(["bright", "dark"], loaded, tmp_path / "images.npy")
    assert len(joined.site) == 120
    assert joined.dataset.images.shape == (120, 32, 32)
    for position, row in enumerate(joined.dataset.index.rows):
        name, _, path = row.path.partition("/")
        dataset = loaded[["bright", "dark"].index(name)]
        number = [each.path for each in dataset.index.rows].index(path)
        assert (joined.dataset.images[position] == dataset.images[number]).all()
        assert int(path.partition(".")[0]) < 60
    splits = {}
    for row, split in zip(joined.dataset.index.rows, joined.dataset.split.splits, strict=True):
        splits.setdefault(row.patient, set()).add(split)
    assert all(len(found) == 1 for found in splits.values())
    for number in (0, 1):
        counts = [len(joined.images_of(number, split)) for split in Split]
        assert sum(counts) == 60
        assert counts[0] > 30
        assert min(counts[1:]) >= 8
    without = joined.without(0).split.splits
    assert {split for split, site in zip(without, joined.site, strict=True) if site == 0} == {Split.TEST}
    assert joined.without(0).split.hash != joined.without(1).split.hash != joined.without(None).split.hash


def test_every_hospital_and_class_is_shown_equally_often():
    cell = np.array([0] * 7 + [1] * 2 + [2] * 3)
    repeats = balanced_repeats(cell, np.random.default_rng(0))
    assert np.bincount(cell, repeats).tolist() == [7, 7, 7]
    assert repeats.tolist()[:7] == [1] * 7
    assert sorted(repeats[7:9]) == [3, 4]
    assert sorted(repeats[9:]) == [2, 2, 3]


def test_an_image_in_two_hospitals_is_an_error(loaded, tmp_path):
    with pytest.raises(LeakageError, match=r"expected different images in each hospital, found b/0.png in a too"):
        join_sites(["a", "b"], [loaded[0], loaded[0]], tmp_path / "images.npy")


def test_images_that_look_like_those_of_another_hospital_are_counted(loaded, tmp_path):
    (tmp_path / "copy").mkdir()
    table = tmp_path / "copy/copy.csv"
    source = loaded[0].source.root
    table.write_text(source.read_text())
    for file in source.parent.glob("*.png"):
        Image.open(file).save(tmp_path / "copy" / file.name, compress_level=1)
    config = parse_config(CONFIG, "test")
    again = load_dataset(Location(table, ""), config.preprocessing, SplitConfig(0, 5), tmp_path / "cache")
    assert join_sites(["a", "b"], [loaded[0], again], tmp_path / "images.npy").lookalikes == 120


def test_a_hospital_of_test_images_alone_is_an_error(loaded, tmp_path):
    rows = tuple(row for row in loaded[0].index.rows if row.split is Split.TEST)
    index = type(loaded[0].index)(rows)
    only_test = type(loaded[0])(loaded[0].source, index, loaded[0].split, loaded[0].images)
    with pytest.raises(DataError, match="expected training images in a, found test images alone"):
        join_sites(["a", "b"], [only_test, loaded[1]], tmp_path / "images.npy")


def test_names_of_hospitals(tmp_path):
    (tmp_path / "A=b").mkdir()
    paths = [tmp_path / "nih.csv", type(tmp_path)("Guangzhou=data/chest_xray"), tmp_path / "A=b"]
    assert [name for name, _ in site_names(paths)] == ["nih", "Guangzhou", "A=b"]
    assert str(site_names(paths)[1][1]) == "data/chest_xray"
    with pytest.raises(ConfigError, match=r"found nih twice: name them, --data NAME=PATH"):
        site_names([tmp_path / "nih.csv", tmp_path / "more/nih.csv"])
    with pytest.raises(ConfigError, match="expected a name for each hospital, found none before data/chest_xray"):
        site_names([type(tmp_path)("=data/chest_xray")])
    folders = [tmp_path / "my.set.v1", tmp_path / "my.set.v2"]
    for folder in folders:
        folder.mkdir()
    assert [name for name, _ in site_names(folders)] == ["my.set.v1", "my.set.v2"]


def test_one_hospital_and_ensembles_are_refused(hospitals, tmp_path):
    config = parse_config(CONFIG, "test")
    with pytest.raises(ConfigError, match="expected two hospitals or more, found 1"):
        leave_one_out(config, sites_of(hospitals[:1]), tmp_path / "run", Callbacks())
    ensemble = parse_config('name = "both"\n[detector]\nname = "both"\nensemble = ["nano", "default"]\n', "test")
    with pytest.raises(ConfigError, match="found the ensemble both: name one of its members"):
        leave_one_out(ensemble, sites_of(hospitals), tmp_path / "run", Callbacks())
    assert not (tmp_path / "run").exists()


def test_networks_are_measured_at_the_hospital_that_they_never_saw(pneumoscope, hospitals, tmp_path):
    config = tmp_path / "small.toml"
    config.write_text(CONFIG)
    command = ["train", config, "--data", f"Bright={hospitals[0]}", "--data", hospitals[1]]
    code, out, err = pneumoscope(*command, "--out", "run", "--json")
    assert code == 0, err
    record = json.loads(out)
    assert [each["name"] for each in record["networks"]] == ["without-Bright", "without-dark", "all"]
    assert [each["sites"] for each in record["networks"]] == [["dark"], ["Bright"], ["Bright", "dark"]]
    unseen = {each["site"]: each for each in record["next_site"]}
    assert {site: each["images"] for site, each in unseen.items()} == {"Bright": 60, "dark": 60}
    assert {site: each["patients"] for site, each in unseen.items()} == {"Bright": 30, "dark": 30}
    # What one hospital teaches is the opposite of what is true at the other one.
    assert all(each["measures"]["auc"]["high"] < 0.2 for each in unseen.values())
    own = [each["measures"]["auc"]["value"] for each in record["own_sites"] if each["network"] != "all"]
    assert min(own) > 0.9
    assert all("worse than chance" in sentence for sentence in record["verdict"][1:])
    trained = {
        name: set((tmp_path / f"run/{name}/training_films.txt").read_text().split())
        for name in ("without-Bright", "without-dark", "all")
    }
    assert not trained["without-Bright"] & trained["without-dark"]
    assert trained["all"] == trained["without-Bright"] | trained["without-dark"]
    assert not (tmp_path / "run/images.npy").exists()
    page, text = ((tmp_path / f"run/sites.{ending}").read_text() for ending in ("html", "md"))
    assert "Research use only" in page
    assert "| Bright | without-Bright | 60 / 44 / 30 |" in text

    code, _, err = pneumoscope(*command, "--out", "run")
    assert code == 1
    assert "found one: go on with it by --resume" in err
    (tmp_path / "run/all/model.safetensors").unlink()
    code, out, err = pneumoscope(*command, "--resume", "run")
    assert code == 0
    assert "worse than chance" in out
    again = json.loads((tmp_path / "run/sites.json").read_text())
    assert [again[key] == record[key] for key in ("networks", "next_site", "own_sites", "seen")] == [True] * 4
    code, _, err = pneumoscope(*command[:2], "--resume", "run")
    assert code == 1
    assert "expected the --data of every hospital for --resume run, found one or none" in err
    code, _, err = pneumoscope(*command, "--out", "other", "--jobs", "2")
    assert code == 1
    assert "expected one --data for --base, --jobs" in err


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.51, 0.8, " for a network that never saw it. On its"),
        (0.5, 0.8, " for a network that never saw it, not shown to be better than chance. On its"),
        (0.2, 0.5, " for a network that never saw it, not shown to be better than chance. On its"),
        (
            0.2,
            0.49,
            ", worse than chance: what it reads, or the label, goes with the other class there. On",
        ),
    ],
)
def test_a_sentence_says_no_more_than_the_intervals(low, high, words):
    auc = Estimate((low + high) / 2, low, high)
    for gain, ending in (
        (Estimate(0.1, -0.01, 0.2), "differs by +0.100 (-0.010 to +0.200), not shown to differ from 0."),
        (Estimate(-0.1, -0.2, -0.01), "differs by -0.100 (-0.200 to -0.010)."),
    ):
        unseen = Measured("without-Hanoi", "Hanoi", 50, 20, 40, {"auc": auc})
        whole, seen = replace(unseen, network="all"), Seen("Hanoi", 10, auc, auc, gain, 0.1)
        (_, sentence) = sentences(LeaveOneOut((), (unseen,), (whole,), (seen,), 0))
        assert words in sentence
        assert sentence.endswith(ending)
