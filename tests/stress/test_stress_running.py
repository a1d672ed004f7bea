import json
import re

import numpy as np
import pytest
from simple_models import bright_lungs

from pneumoscope.errors import InputError, RunError
from pneumoscope.stress import Radiographs
from pneumoscope.stress.battery import battery
from pneumoscope.stress.running import run_battery

TRIALS = battery(0)[:4]


def lines(raised):
    return str(raised.value).splitlines()


@pytest.mark.parametrize(
    ("model", "error", "words"),
    [
        (lambda images: np.zeros((len(images), 3)), InputError, "found (2, 3) float64"),
        (lambda images: np.zeros(len(images) + 1), InputError, "found (3,)"),
        (lambda images: ["a"] * len(images), InputError, "return one number"),
        (lambda images: np.full(len(images), np.nan), InputError, "2 NaN"),
        (lambda images: np.full(len(images), 1.5), InputError, "found 1.5 to 1.5"),
        (lambda images: np.full(len(images), -3.0), InputError, "apply the sigmoid"),
        (lambda images: 1 / 0, RunError, "ZeroDivisionError: division by zero"),
        (lambda images: 1 - bright_lungs(images), InputError, "exchange the classes"),
    ],
)
def test_a_model_that_does_not_do_gets_one_line(radiographs, model, error, words):
    with pytest.raises(error) as raised:
        run_battery(model, radiographs, TRIALS)
    assert len(lines(raised)) == 1
    assert words in str(raised.value)


def test_a_column_of_probabilities_will_do(radiographs):
    predictions = run_battery(lambda images: bright_lungs(images)[:, None], radiographs, TRIALS)
    assert all(
        np.array_equal(predictions[name], each) for name, each in run_battery(bright_lungs, radiographs, TRIALS).items()
    )


def test_a_slow_model_is_stopped_by_its_rate(radiographs, monkeypatch):
    now = iter(range(0, 10_000, 10))
    monkeypatch.setattr("pneumoscope.stress.running.time.perf_counter", lambda: next(now))
    shown = []
    with pytest.raises(RunError, match="found 5 s an image") as raised:
        run_battery(lambda images: shown.append(len(images)) or bright_lungs(images), radiographs, TRIALS, hours=0.1)
    assert shown == [2]
    assert len(lines(raised)) == 1


def test_what_was_interrupted_goes_on(radiographs, tmp_path):
    shown = []

    def fails_in_the_third_trial(images):
        shown.append(len(images))
        if len(shown) > 3:
            raise MemoryError
        return bright_lungs(images)

    with pytest.raises(RunError, match="MemoryError: no explanation"):
        run_battery(fails_in_the_third_trial, radiographs, TRIALS, tmp_path, "a")
    counted = []
    predictions = run_battery(
        lambda images: counted.append(len(images)) or bright_lungs(images), radiographs, TRIALS, tmp_path, "a"
    )
    assert counted == [12, 24, 24]  # a dozen by which the model is known again
    whole = run_battery(bright_lungs, radiographs, TRIALS)
    assert all(np.array_equal(predictions[name], whole[name]) for name in whole)


def stored(folder):
    """The one folder of predictions."""
    [own] = folder.iterdir()
    return own


def test_damaged_answers_are_made_again(radiographs, tmp_path):
    run_battery(bright_lungs, radiographs, TRIALS, tmp_path, "a")
    own = stored(tmp_path)
    (own / "storage-of-its-class.npy").write_bytes(b"\x93NUMPY")
    np.save(own / "storage-of-the-other-class.npy", np.zeros(3))
    (own / "state.json").write_text("{")
    shown = []
    predictions = run_battery(
        lambda images: shown.append(len(images)) or bright_lungs(images), radiographs, TRIALS, tmp_path, "a"
    )
    assert {len(each) for each in predictions.values()} == {24}
    assert sum(shown) == 12 + 24 + 24
    assert json.loads((own / "state.json").read_text())["model"] == "a"
    assert not list(own.glob("*.partial*"))


def test_another_model_and_other_radiographs_start_anew_beside(radiographs, tmp_path):
    first = run_battery(bright_lungs, radiographs, TRIALS, tmp_path, "a")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.npy")}
    second = run_battery(lambda images: bright_lungs(images) ** 2, radiographs, TRIALS, tmp_path, "b")
    assert all(np.array_equal(second[name], each**2) for name, each in first.items())
    fewer = Radiographs(
        radiographs.images[:22], radiographs.positive[:22], radiographs.patients[:22], radiographs.names[:22]
    )
    assert len(run_battery(bright_lungs, fewer, TRIALS, tmp_path, "a")["unaltered"]) == 22
    assert len(list(tmp_path.iterdir())) == 3
    assert all(re.fullmatch("[0-9a-f]{12}", folder.name) for folder in tmp_path.iterdir())
    assert all(path.read_bytes() == content for path, content in before.items())
    shown = []
    run_battery(lambda images: shown.append(len(images)) or bright_lungs(images), radiographs, TRIALS, tmp_path, "a")
    assert shown == [12]


def test_a_model_with_other_weights_under_the_same_name_starts_anew(radiographs, tmp_path):
    """Nothing of the old weights is left, even where the new run is interrupted."""
    first = run_battery(bright_lungs, radiographs, TRIALS, tmp_path, "a")
    shown = []

    def retrained(images):
        shown.append(len(images))
        if sum(shown) > 50:
            raise MemoryError
        return bright_lungs(images) ** 2

    with pytest.raises(RunError, match="MemoryError"):
        run_battery(retrained, radiographs, TRIALS, tmp_path, "a")
    assert [path.name for path in stored(tmp_path).glob("*.npy")] == ["unaltered.npy"]
    second = run_battery(lambda images: bright_lungs(images) ** 2, radiographs, TRIALS, tmp_path, "a")
    assert all(np.array_equal(second[name], each**2) for name, each in first.items())


def test_models_that_agree_on_the_surest_images_alone_are_not_the_same(radiographs, tmp_path):
    """Saturated models give 0 and 1 at the ends, whatever their weights."""

    def steep(images):
        return np.round(bright_lungs(images) > 0.5).astype(float)

    run_battery(steep, radiographs, TRIALS, tmp_path, "a")
    order = np.argsort(steep(radiographs.images), kind="stable")
    ends = {radiographs.images[each].tobytes() for each in (*order[:2], *order[-2:])}

    def unsure(images):
        return np.array([p if image.tobytes() in ends else 0.5 for p, image in zip(steep(images), images, strict=True)])

    found = run_battery(unsure, radiographs, TRIALS, tmp_path, "a")["unaltered"]
    assert (found == 0.5).sum() == len(radiographs) - 4


@pytest.mark.parametrize("before", [False, True])
def test_progress_counts_every_image_once(radiographs, tmp_path, before):
    if before:
        run_battery(bright_lungs, radiographs, TRIALS, tmp_path, "a")
    steps = []
    run_battery(
        bright_lungs, radiographs, TRIALS, tmp_path, "a", progress=lambda done, total: steps.append((done, total))
    )
    assert steps[-1] == (96, 96)
    assert len(set(steps)) == len(steps)
    assert steps == sorted(steps)
