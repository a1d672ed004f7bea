"""Evidence by lung zone."""

import numpy as np
import pytest

from pneumoscope.inference.zones import lung_zones, zones_in_words
from pneumoscope.types import ZONES


def one_cell(row, column, cells=40):
    evidence = np.zeros((cells, cells), dtype=np.float32)
    evidence[int(row * cells), int(column * cells)] = 3
    return evidence


@pytest.mark.parametrize(
    ("row", "column", "zone"),
    [
        (0.2, 0.3, "right_upper"),
        (0.45, 0.3, "right_middle"),
        (0.7, 0.3, "right_lower"),
        (0.2, 0.7, "left_upper"),
        (0.45, 0.7, "left_middle"),
        (0.7, 0.7, "left_lower"),
        (0.7, 0.49, "right_lower"),
        (0.03, 0.3, "outside"),
        (0.95, 0.3, "outside"),
    ],
)
def test_a_position_belongs_to_the_zone_of_the_patients_side(row, column, zone):
    zones = lung_zones(one_cell(row, column), 0.9)
    assert tuple(zones) == ZONES
    assert zones == dict.fromkeys(ZONES, 0.0) | {zone: 1.0}


def test_fractions_are_of_the_evidence_for_pneumonia_alone():
    evidence = 3 * one_cell(0.2, 0.3) + one_cell(0.7, 0.7) - 50 * one_cell(0.45, 0.7)
    zones = lung_zones(evidence, 0.9)
    assert (zones["right_upper"], zones["left_lower"], zones["left_middle"]) == (0.75, 0.25, 0)


@pytest.mark.parametrize("cells", [4, 5, 6, 10])
def test_coarse_maps_are_divided_by_area(cells):
    zones = lung_zones(np.ones((cells, cells), dtype=np.float32), 0.9)
    assert zones["right_upper"] == pytest.approx(0.27 / 2, abs=1e-3)
    assert zones["left_lower"] == pytest.approx(0.28 / 2, abs=1e-3)
    assert sum(zones.values()) == pytest.approx(1, abs=0.005)


def test_a_doubtful_frame_or_no_evidence_places_nothing():
    evidence = one_cell(0.2, 0.3)
    assert lung_zones(evidence, 0.69) is None
    assert lung_zones(-evidence, 0.9) is None


def test_words_name_the_largest_zones_first():
    shares = {"right_lower": 0.41, "right_middle": 0.22, "left_upper": 0.199, "outside": 0.221}
    assert zones_in_words(shares) == "right lower 41 %, outside the lungs 22 %, right middle 22 %"
    assert zones_in_words({"right_lower": 0.205, "right_middle": 0.225}) == "right middle 23 %, right lower 21 %"
    assert zones_in_words(dict.fromkeys(ZONES, 1 / 7)) == "no zone with 20 %"
