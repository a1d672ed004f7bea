import numpy as np
import pytest
from simple_models import SIDE

from pneumoscope.stress.alterations import ALTERATIONS
from pneumoscope.stress.battery import UNALTERED, battery
from pneumoscope.stress.corruptions import CORRUPTIONS
from pneumoscope.stress.regions import lungs
from pneumoscope.stress.transplants import TRANSPLANTS

TRIALS = {trial.name: trial for trial in battery()}


def test_every_transplant_alteration_and_corruption_is_tried_once():
    assert len(battery()) == len(TRIALS) == 1 + 2 * len(TRANSPLANTS) + len(ALTERATIONS) + 5 * len(CORRUPTIONS)
    assert next(iter(TRIALS)) == UNALTERED
    assert len(battery(0)) == len(TRIALS) - 5 * len(CORRUPTIONS)


@pytest.mark.parametrize("name", [each for each in TRIALS if not each.endswith(("2", "3", "4"))])
def test_a_trial_gives_an_image_of_the_same_size_and_always_the_same(radiographs, name):
    trial = TRIALS[name]
    first = trial.image(radiographs, 1)
    assert first.shape == (SIDE, SIDE)
    assert first.dtype == np.uint8
    assert np.array_equal(first, trial.image(radiographs, 1))
    is_changed = not np.array_equal(first, radiographs.images[1])
    # A positive image is stored like a positive one already.
    assert is_changed == (name not in {UNALTERED, "stored alike"})


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_stronger_corruption_changes_more(radiographs, name):
    def change(strength):
        trial = TRIALS[f"{name} {strength}"]
        return np.mean(
            [np.abs(trial.image(radiographs, i).astype(int) - radiographs.images[i]).mean() for i in range(8)]
        )

    assert 0 < change(1) < change(5)


def test_lungs_only_and_lungs_hidden_share_nothing(radiographs):
    opacity = lungs(radiographs[0].frame, SIDE)
    only, hidden = (TRIALS[name].image(radiographs, 0) for name in ("lungs only", "lungs hidden"))
    own = radiographs.images[0]
    assert np.abs(only.astype(int) - own)[opacity > 0.999].max() <= 1
    assert only[opacity == 0].std() < 1
    assert np.abs(hidden.astype(int) - own)[opacity == 0].max() <= 1
    assert hidden[opacity > 0.999].std() < 1


def test_shuffled_blocks_are_the_same_pixels(radiographs):
    shuffled = TRIALS["blocks shuffled"].image(radiographs, 0)
    assert np.array_equal(np.sort(shuffled, axis=None), np.sort(radiographs.images[0], axis=None))


def test_a_letter_is_added_in_a_corner_and_hidden_again(radiographs):
    changed = np.abs(TRIALS["markers added"].image(radiographs, 0).astype(int) - radiographs.images[0]) > 40
    rows, columns = changed.nonzero()
    assert len(rows)
    assert all(np.abs(each.mean() - SIDE / 2) > SIDE / 5 for each in (rows, columns))


def test_a_negative_is_stored_like_a_positive(radiographs):
    assert not np.array_equal(TRIALS["stored alike"].image(radiographs, 0), radiographs.images[0])
