import numpy as np
import pytest

from pneumoscope.errors import InputError
from pneumoscope.evaluation.drift import BINS, FEWEST, Drift, Histogram, Reference, rejection_drift, statistic_drift


@pytest.fixture
def reference(rng):
    return Reference.of({"contrast": rng.normal(size=500)}, rejected=3)


def test_the_index_is_that_of_the_definition(reference, rng):
    values = rng.normal(0.5, size=300)
    moved = statistic_drift(reference, "contrast", values)
    histogram = reference.histograms["contrast"]
    counts = np.histogram(values, [-np.inf, *histogram.edges, np.inf])[0]
    p = (counts + 0.5) / (counts + 0.5).sum()
    expected = np.array(histogram.share) * reference.images + 0.5
    q = expected / expected.sum()
    assert moved.index == pytest.approx(float(((p - q) * np.log(p / q)).sum()))
    assert moved.share == pytest.approx(tuple(counts / 300))


def test_chance_alone_stays_below_its_limit(rng):
    population = rng.normal(size=200_000)
    over = 0
    for _ in range(1000):
        reference = Reference.of({"contrast": rng.choice(population, 500)}, 0)
        moved = statistic_drift(reference, "contrast", rng.choice(population, 300))
        over += moved.index > moved.by_chance
    # One in a thousand is expected.
    assert over <= 5


@pytest.mark.parametrize(("shift", "drift"), [(0.0, Drift.STEADY), (0.45, Drift.MOVED), (1.5, Drift.DRIFTED)])
def test_level_of_drift_follows_the_shift(reference, rng, shift, drift):
    assert statistic_drift(reference, "contrast", rng.normal(shift, size=2000)).drift is drift


def test_small_windows_are_not_assessed(reference, rng):
    assert statistic_drift(reference, "contrast", rng.normal(5, size=FEWEST - 1)).drift is Drift.TOO_FEW
    assert statistic_drift(reference, "contrast", np.zeros(0)).index >= 0
    assert rejection_drift(reference, 0, 0) == (Drift.TOO_FEW, 0.0, 1.0)
    assert rejection_drift(reference, 20, 40)[0] is Drift.TOO_FEW


def test_rejections_have_wilsons_interval(reference):
    # 12 of 100: Newcombe 1998, by Wilson's method without correction for continuity.
    level, low, high = rejection_drift(reference, 12, 100)
    assert (low, high) == pytest.approx((0.0700, 0.1981), abs=1e-4)
    assert level is Drift.DRIFTED
    assert rejection_drift(reference, 5, 200)[0] is Drift.STEADY
    assert rejection_drift(reference, 10, 300)[0] is Drift.MOVED


@pytest.mark.parametrize(
    ("edges", "share"),
    [
        ((0.0,) * 3, (0.1,) * BINS),
        (tuple(range(9)), (0.2,) * BINS),
        (tuple(range(9))[::-1], (0.1,) * BINS),
        ((np.nan,) * 9, (0.1,) * BINS),
        (tuple(range(9)), (-0.1, 0.3, *(0.1,) * 8)),
    ],
)
def test_invalid_histograms_are_refused(edges, share):
    with pytest.raises(InputError, match="expected"):
        Histogram(edges, share)
