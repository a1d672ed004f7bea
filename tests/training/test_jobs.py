"""Trainings at the same time, on this machine and on a Ray cluster."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from network_namespace import can_isolate, isolated
from pneumoscope.config import DetectorConfig, ModelConfig, Preprocessing, RunConfig, TrainingConfig
from pneumoscope.data.locate import Location
from pneumoscope.detector_training.cross_fitting import make_detector
from pneumoscope.errors import ConfigError, DataError, RunError
from pneumoscope.training.callbacks import Callbacks
from pneumoscope.training.jobs import Job, Workers, run_jobs


def note(folder, name, seconds):
    """Record when the job began and ended, and in which process."""
    began = time.time()
    time.sleep(seconds)
    (folder / f"{name}.json").write_text(json.dumps([began, time.time(), os.getpid()]))
    return f"{name} done"


def fail(folder, name, seconds):
    time.sleep(seconds)
    raise DataError(f"expected {name} to do well, found it failing: nothing to do")


def die(folder, name, seconds):
    os._exit(9)


def noted(folder):
    return {file.stem: json.loads(file.read_text()) for file in folder.glob("*.json")}


@pytest.mark.integration
def test_prerequisites_run_first_and_no_more_jobs_run_than_allowed(tmp_path):
    messages, finished = [], []
    jobs = [
        Job(name, note, (tmp_path, name, 0.2), after) for name, after in (("d", "a"), ("a", ""), ("b", ""), ("c", ""))
    ]
    run_jobs(jobs, Workers(2), messages.append, lambda stage: lambda *parts: finished.append((stage, *parts)))
    assert finished == [("trainings finished", done, 4) for done in range(5)]
    times = noted(tmp_path)
    assert sorted(messages) == ["a: a done", "b: b done", "c: c done", "d: d done"]
    assert times["d"][0] >= times["a"][1]
    for began, _, _ in times.values():
        assert sum(first <= began < last for first, last, _ in times.values()) <= 2
    assert len({pid for _, _, pid in times.values()}) == 2
    assert os.getpid() not in {pid for _, _, pid in times.values()}


@pytest.mark.integration
def test_a_failure_is_raised_when_running_jobs_have_ended(tmp_path):
    jobs = [Job("bad", fail, (tmp_path, "bad", 0.0)), Job("good", note, (tmp_path, "good", 0.5))]
    jobs += [Job("later", note, (tmp_path, "later", 0.0), after="bad")]
    with pytest.raises(DataError, match="expected bad to do well"):
        run_jobs(jobs, Workers(2), lambda line: None)
    assert set(noted(tmp_path)) == {"good"}


@pytest.mark.integration
def test_a_killed_process_is_reported(tmp_path):
    with pytest.raises(RunError, match="bad failed: its process was killed, probably for lack of memory; lower --jobs"):
        run_jobs([Job("bad", die, (tmp_path, "bad", 0.0))], Workers(2), lambda line: None)


def test_one_worker_leaves_it_to_the_caller(tmp_path):
    run_jobs([Job("a", note, (tmp_path, "a", 0.0))], Workers(), lambda line: None)
    assert not noted(tmp_path)
    with pytest.raises(ConfigError, match="expected 1 job or more"):
        Workers(0)


@pytest.mark.integration
def test_a_detector_by_jobs_is_the_detector(phantoms, tmp_path):
    config = RunConfig(
        "small",
        ModelConfig("nano", 3, freeze_base=False),
        Preprocessing(64, 64),
        training=TrainingConfig(epochs=1, optimiser="adamw", learning_rate=1e-3, precision="fp32", batch_size=16),
        detector=DetectorConfig("small", "1", folds=2, members=1),
    )
    location, messages = Location(phantoms, "test", synthetic=True), []
    make_detector(config, location, tmp_path / "run", Callbacks(message=messages.append), workers=Workers(2))
    assert sorted(line.partition(":")[0] for line in messages[:3]) == [
        *(f"small, seed 0, {training}" for training in ("fold 1 of 2", "fold 2 of 2", "the final network"))
    ]
    assert (tmp_path / "run" / "bundle.zip").is_file()
    assert len(list((tmp_path / "run").rglob("metrics.csv"))) == 3


@pytest.mark.integration
def test_jobs_run_on_a_ray_cluster(phantoms, tmp_path):
    """A cluster as `ray start` starts one, with its token, in a network of its own."""
    pytest.importorskip("ray")
    if not can_isolate():
        pytest.skip("no network namespace of its own can be had here, and Ray listens on every interface")
    binaries = Path(sys.executable).parent
    study = f"{sys.executable} -m pneumoscope study --data {phantoms} --only cnn_3_classes --seeds 2 --epochs 1 --precision fp32"
    (tmp_path / "run.sh").write_text(
        f"""
export RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_TOKEN={"0" * 64}
{binaries}/ray start --head --block --num-cpus 2 --include-dashboard false --node-ip-address 127.0.0.1 --port 6399 \\
    --object-store-memory 100000000 > ray.log 2>&1 &
trap "kill $!; wait" EXIT
for _ in $(seq 60); do grep -q "Ray runtime started" ray.log && break; sleep 0.5; done
export RAY_AUTH_MODE=token
{study} --jobs 2 --address 127.0.0.1:6399 --out study --ledger ledger.jsonl
"""
    )
    command = ["sh", str(tmp_path / "run.sh")]
    done = subprocess.run(isolated(command), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for seed in (0, 1):
        assert f"CNN, 3 classes, seed {seed}: 1 epochs" in done.stderr
    assert len(list((tmp_path / "study").rglob("model.safetensors"))) == 2
