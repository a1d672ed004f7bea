"""The simulated cluster behaves as can be told without simulating it."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "experiments"))
from simulate_cluster import Setting, simulated

CALM = Setting(nodes=4, workers_per_node=5, images=100_000, partition_images=1000, image=0.01, spread=0.0, start=0.0)


def test_where_nothing_happens_it_takes_what_the_work_takes():
    told = simulated(CALM)
    assert told["seconds"] == pytest.approx(100_000 * 0.01 / 20)
    assert told["efficiency"] == pytest.approx(1)
    assert told["failures"] == 0
    assert simulated(replace(CALM, start=7))["seconds"] == pytest.approx(told["seconds"] + 7)


def test_a_slow_driver_is_the_limit():
    told = simulated(replace(CALM, handing_out=2.0))
    assert told["seconds"] == pytest.approx(100 * 2.0 + 10)


def test_failures_lose_work_and_no_partition():
    told = simulated(replace(CALM, node_fails_every_hours=0.01, noticed=1.0, replaced=5.0))
    assert told["failures"] > 0
    assert told["lost_worker_seconds"] > 0
    assert told["seconds"] > simulated(CALM)["seconds"]
    assert told == simulated(replace(CALM, node_fails_every_hours=0.01, noticed=1.0, replaced=5.0))


def test_copies_shorten_the_end_where_a_node_is_slow():
    slow = replace(CALM, images=50_000, slow_nodes=0.25, slowness=10.0)
    assert simulated(replace(slow, copies=True))["seconds"] < 0.5 * simulated(slow)["seconds"]
