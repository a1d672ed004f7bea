import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import CancelledError
from dataclasses import dataclass

import numpy as np
import pytest

from pneumoscope.bundle import find_bundle
from pneumoscope.errors import BundleError, ConfigError, InputError, RunError
from pneumoscope.inference.batch import in_tasks, predict_files
from pneumoscope.inference.detector import Detector
from pneumoscope.inference.limits import ImageLimits
from pneumoscope.inference.pool import WorkerPool
from pneumoscope.inference.tasks import PredictImages, ScoreImages, Task
from pneumoscope.types import NamedImage, PredictionRequest, Reason
from poison import Poison

# A spinning image is to meet the limit of processor time, a sleeping one that of wall-clock time.
LIMITS = ImageLimits(processor_seconds=2, wall_seconds=2.0)
OF_SPINNING = ImageLimits(processor_seconds=2, wall_seconds=60.0)
CAUSES = {
    "crash": "ended the process",
    "end": "ended the process",
    "hang": "took more than 2 s",
    "sleep": "took more than 2 s",
    "spin": "took more than 2 s of processor time",
    "exhaust": "decoding it ",  # MemoryError, or what a library makes of it
}


@pytest.fixture(scope="module")
def files(phantoms):
    return sorted(map(str, phantoms.rglob("*.jpeg")))[:20]


@pytest.fixture(scope="module")
def expected(phantom_bundle, files):
    return list(Detector(find_bundle(phantom_bundle)).predict_many(files))


@dataclass(frozen=True)
class TellProcess(Task):
    """Gives the id of the process that works on it."""

    def run(self, detector, each):
        time.sleep(0.1)  # so that one process alone cannot do all tasks
        return [os.getpid() for _ in each(self.images)]

    def reject(self, detector, cause):
        return [cause for _ in self.images]


@dataclass(frozen=True)
class FailInNetwork(Task):
    """Runs the bundle's network on images of a size that it was not built for."""

    bundle: str = ""

    def run(self, detector, each):
        from pneumoscope.inference.network import Network

        network = Network(find_bundle(self.bundle).model, 100, 100)
        return [network.run(np.zeros((1, 100, 100), np.uint8), "logits") for _ in each(self.images)]

    def reject(self, detector, cause):
        return [cause for _ in self.images]


@pytest.mark.parametrize("harm", CAUSES)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_harmful_image_costs_itself_alone(phantom_bundle, files, expected, harm, workers):
    images = [*files[:7], Poison("poison.jpeg", harm), *files[7:]]
    limits = OF_SPINNING if harm == "spin" else LIMITS
    with WorkerPool(phantom_bundle, workers, limits=limits) as pool:
        found = [p for predictions in predict_files(images, pool) for p in predictions]
        again = [p for predictions in predict_files(files[:1], pool) for p in predictions]
    assert [p for p in found if p.file != "poison.jpeg"] == expected
    assert found[7].file == "poison.jpeg"
    assert found[7].reasons == (Reason.UNREADABLE,)
    assert CAUSES[harm] in found[7].detail
    assert again == expected[:1]
    assert pool.replaced == 2


def test_a_single_harmful_image_is_rejected(phantom_bundle):
    with WorkerPool(phantom_bundle, 1, limits=LIMITS) as pool:
        [[found]] = list(predict_files([Poison("poison.jpeg", "crash")], pool))
    assert found.reasons == (Reason.UNREADABLE,)


def test_a_network_that_fails_is_an_error_and_no_rejection(phantom_bundle, files, expected):
    with WorkerPool(phantom_bundle, 1) as pool:
        with pytest.raises(RunError, match="the network failed in a fresh process too"):
            list(pool.run([FailInNetwork(files[:2], str(phantom_bundle))]))
        [found] = pool.run([PredictImages(files)])
    assert found == expected


def test_scores_are_given_for_what_can_be_scored(phantom_bundle, files):
    images = [files[0], Poison("poison.jpeg", "crash"), files[1]]
    with WorkerPool(phantom_bundle, 1, limits=LIMITS) as pool:
        [scores] = pool.run([ScoreImages(images)])
    assert [score.class_probability is None for score in scores] == [False, True, False]


def test_a_process_that_is_killed_while_it_waits_is_replaced(phantom_bundle, files, expected):
    with WorkerPool(phantom_bundle, 1) as pool:
        [[process]] = pool.run([TellProcess([files[0]])])
        os.kill(process, signal.SIGKILL)
        found = [each for task in pool.run(in_tasks(files, PredictionRequest())) for each in task]
        assert found == expected
        [[other]] = pool.run([TellProcess([files[0]])])
        assert other != process


def test_processes_end_with_the_pool(phantom_bundle, files):
    with WorkerPool(phantom_bundle, 2) as pool:
        pool.wait_until_ready()
        processes = {p for [p] in pool.run(TellProcess([file]) for file in files)}
        assert len(processes) == 2
    for process in processes:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and _is_alive(process):
            time.sleep(0.05)
        assert not _is_alive(process)


def _is_alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_process_cannot_load_is_raised_for_every_task(phantom_bundle, files, workers, tmp_path):
    with WorkerPool(tmp_path / "gone.zip", workers) as pool:
        for _ in range(2):
            with pytest.raises(BundleError, match="expected a bundle"):
                list(predict_files(files, pool))
    with (
        WorkerPool(phantom_bundle, workers, device="cuda") as pool,
        pytest.raises(ConfigError, match="expected a runtime for the device cuda"),
    ):
        list(predict_files(files, pool))


def test_settings_out_of_range_are_raised_and_the_pool_goes_on(phantom_bundle, files, expected):
    with WorkerPool(phantom_bundle, 1) as pool:
        with pytest.raises(InputError, match="expected an operating point out of balanced"):
            list(predict_files(files, pool, PredictionRequest("best")))
        assert pool.submit(PredictImages(files)).result() == expected


def test_large_images_and_large_results_pass_each_other(phantom_bundle):
    with WorkerPool(phantom_bundle, 1) as pool:
        echoes = [pool.submit(Echo([bytes(8_000_000)])) for _ in range(6)]
        assert [len(each.result()[0]) for each in echoes] == [8_000_000] * 6


@dataclass(frozen=True)
class Echo(Task):
    def run(self, detector, each):
        return list(each(self.images))

    def reject(self, detector, cause):
        return [cause for _ in self.images]


def test_leaving_a_pool_by_an_exception_ends_its_processes_at_once(phantom_bundle, files):
    with contextlib.suppress(KeyboardInterrupt), WorkerPool(phantom_bundle, 1) as pool:
        [[process]] = pool.run([TellProcess([files[0]])])
        waiting = pool.submit(PredictImages([Poison("poison.jpeg", "sleep")]))
        raise KeyboardInterrupt
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and _is_alive(process):
        time.sleep(0.05)
    assert not _is_alive(process)
    with pytest.raises((CancelledError, RunError)):
        waiting.result(timeout=60)


def test_a_process_that_dies_again_and_again_is_an_error_and_no_wait_for_ever(phantom_bundle, files, monkeypatch):
    with WorkerPool(phantom_bundle, 1) as pool:
        pool.wait_until_ready()
        monkeypatch.setattr("pneumoscope.inference.pool._PROGRAM", "import sys; sys.exit(1)")
        monkeypatch.setattr("pneumoscope.inference.pool._may_fork", lambda: False)
        with pytest.raises(RunError, match="worker processes end as soon as they start"):
            list(predict_files([Poison("poison.jpeg", "end")], pool))


@dataclass(frozen=True)
class FailThenWait(Task):
    """Fails with an error of the settings after its first image."""

    def run(self, detector, each):
        for _ in each(self.images):
            raise InputError("no such setting")

    def reject(self, detector, cause):
        return [cause for _ in self.images]


def test_an_idle_process_is_not_ended_by_the_clock_of_an_image_before(phantom_bundle, files):
    with WorkerPool(phantom_bundle, 1, limits=ImageLimits(wall_seconds=2.0)) as pool:
        with pytest.raises(InputError, match="no such setting"):
            list(pool.run([FailThenWait([files[0], files[1]])]))
        time.sleep(2.5)
        list(predict_files(files[:1], pool))
        assert pool.replaced == 0


@dataclass(frozen=True)
class Unpicklable(Task):
    def run(self, detector, each):
        return [lambda: None for _ in self.images]

    def reject(self, detector, cause):
        return [cause for _ in self.images]


def test_a_result_that_cannot_be_sent_is_a_rejection(phantom_bundle, files):
    with WorkerPool(phantom_bundle, 1) as pool:
        [[cause]] = pool.run([Unpicklable([files[0]])])
    assert "decoding it failed: " in cause


def test_tasks_that_never_began_are_cancelled_with_the_pool(phantom_bundle):
    pool = WorkerPool(phantom_bundle, 1)
    tasks = [pool.submit(PredictImages([Poison("poison.jpeg", "sleep")])) for _ in range(6)]
    pool.wait_until_ready()
    pool.close(wait=False)
    for task in tasks:
        with pytest.raises((CancelledError, RunError)):
            task.result(timeout=60)


def test_limits_keep_within_those_of_the_shell(phantom_bundle, files):
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_CPU, (1000, 1000))\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (8 * 10**9, 8 * 10**9))\n"
        f"sys.argv = ['pneumoscope', 'predict', {files[0]!r}, '--bundle', {str(phantom_bundle)!r}, '--json']\n"
        "from pneumoscope.cli import main; main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["pneumonia_probability"] is not None


def test_tasks_hold_no_more_bytes_than_an_image_may_take():
    images = [NamedImage(str(number), bytes(20 * 2**20)) for number in range(5)]
    assert [len(task.images) for task in in_tasks(images, PredictionRequest())] == [1, 2, 2]


def test_the_first_tasks_are_small_so_that_something_is_written_at_once():
    sizes = [len(task.images) for task in in_tasks(map(str, range(100)), PredictionRequest())]
    assert sizes == [1, 2, 4, 8, 16, 32, 32, 5]
