"""Several processes that train one network take the steps that one process takes."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from network_namespace import can_isolate, isolated
from pneumoscope.errors import ConfigError, RunError
from pneumoscope.models.batch_shard import BatchShard, Dropout, sharded
from pneumoscope.training import distributed

SCRIPT = Path(__file__).with_name("distributed_script.py")


def in_own_network(*words):
    """The command, in a network namespace of its own where one can be had."""
    return isolated(words) if can_isolate() else list(words)


def run(*words, **environment):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "TORCHELASTIC_"))}
    done = subprocess.run(in_own_network(*words), env=kept | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


def trained(folder, processes, *names):
    folder.mkdir(exist_ok=True)
    run(sys.executable, str(SCRIPT), str(folder), str(processes), *names)
    return json.loads((folder / "record.json").read_text())


def apart(one, other, what="steps"):
    return float(np.abs(np.subtract(one[what], other[what])).max())


EVERY = ["cnn", "cnn balanced", "nano 2 accumulated"]
SINGLE_PRECISION = ["cnn", "frozen", "cnn 2 accumulated", "bf16", "bf16 2 accumulated"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Trainings in single precision by one process."""
    return trained(tmp_path_factory.mktemp("alone"), 1, *SINGLE_PRECISION)


@pytest.mark.integration
def test_in_double_precision_two_processes_do_exactly_what_one_does(tmp_path):
    """Dropout, stochastic depth, mixed styles, normalisation, class weights, accumulation, a batch of one image: all of it."""
    one, two = trained(tmp_path / "one", 1, "fp64", *EVERY), trained(tmp_path / "two", 2, "fp64", *EVERY)
    for name in EVERY:
        assert len(one[name]["steps"]) == (50 if name.startswith("cnn") else 10)
        assert apart(one[name], two[name]) < 1e-12, name
        assert apart(one[name], two[name], "validation") < 1e-12, name
        first, second = (load_file(tmp_path / each / name / "model.safetensors") for each in ("one", "two"))
        for key in first:
            torch.testing.assert_close(first[key], second[key], rtol=1e-9, atol=1e-9)


@pytest.mark.integration
def test_two_processes_keep_to_the_loss_of_one_over_fifty_steps(alone, tmp_path):
    one, two = alone, trained(tmp_path / "two", 2, *SINGLE_PRECISION)
    for name in ("cnn", "frozen", "cnn 2 accumulated"):
        assert len(one[name]["steps"]) == 50
        assert apart(one[name], two[name]) < 1e-5, name
    # A gradient is rounded once for each part of a batch: two processes round where one does that accumulates two parts.
    assert apart(one["cnn 2 accumulated"], two["cnn"]) < 1e-7
    assert apart(one["bf16 2 accumulated"], two["bf16"]) < 1e-7
    assert apart(one["bf16"], two["bf16"]) < 0.02


@pytest.mark.integration
def test_a_training_resumes_with_another_number_of_processes(tmp_path, phantoms):
    """One epoch alone, one with two processes: as two alone; from the command line."""
    config = tmp_path / "small.toml"

    def train(folder, epochs, processes, *more):
        config.write_text(
            'name = "small"\n[preprocessing]\nheight = 48\nwidth = 48\n[training]\nprecision = "fp32"\npatience = 9\n'
            f"epochs = {epochs}\n"
        )
        command = [sys.executable, "-m", "pneumoscope", "train", str(config), "--data", str(phantoms)]
        done = run(*command, "--processes", str(processes), *more, str(folder))
        # Only rank 0 prints.
        assert done.stdout.count("validation loss") == 1
        assert done.stderr.count(f"epoch {epochs:>2}/{epochs}") == 1

    train(tmp_path / "alone", 2, 1, "--out")
    torn = tmp_path / "torn"
    train(torn, 1, 1, "--out")
    # As a run that was meant to be longer and was killed after its first epoch.
    (torn / "model.safetensors").unlink()
    record = json.loads((torn / "config.json").read_text())
    record["training"]["epochs"] = 2
    (torn / "config.json").write_text(json.dumps(record))
    checkpoint = torch.load(torn / "checkpoint.pt", weights_only=True)
    checkpoint["state"]["stopped"] = False
    torch.save(checkpoint, torn / "checkpoint.pt")
    train(torn, 2, 2, "--resume")
    losses = []
    for folder in ("alone", "torn"):
        with (tmp_path / folder / "metrics.csv").open() as stream:
            losses.append([float(row["val_loss"]) for row in csv.DictReader(stream)])
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert len(losses[1]) == 2


@pytest.mark.integration
def test_torchrun_and_srun_start_the_ranks(alone, tmp_path):
    words = [str(SCRIPT), "", "1", "cnn"]

    def folder(name):
        (tmp_path / name).mkdir()
        words[1] = str(tmp_path / name)
        return words

    torchrun = str(Path(sys.executable).with_name("torchrun"))
    run(torchrun, "--nproc-per-node", "2", *folder("torchrun"))
    # As srun starts them: two nodes with one process each, that know of each other by the environment alone.
    slurm = {
        "SLURM_JOB_ID": "1",
        "SLURM_JOB_NAME": "train",
        "SLURM_NTASKS": "2",
        "SLURM_NNODES": "2",
        "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_NODELIST": "127.0.0.1",
        "SLURM_LOCALID": "0",
        "MASTER_ADDR": "127.0.0.1",
    }
    command = " ".join([sys.executable, *folder("srun")])
    both = " & ".join(f"SLURM_PROCID={rank} SLURM_NODEID={rank} {command} & one{rank}=$!" for rank in (0, 1))
    run("sh", "-c", both.replace("& one0=$! &", "& one0=$!;") + "; wait $one0 && wait $one1", **slurm)
    for name in ("torchrun", "srun"):
        record = json.loads((tmp_path / name / "record.json").read_text())
        assert apart(record["cnn"], alone["cnn"]) < 1e-4
        assert apart(record["cnn"], alone["cnn"]) > 0


@pytest.mark.integration
def test_an_error_on_rank_0_stops_all_ranks(tmp_path, phantoms):
    (tmp_path / "small.toml").write_text('name = "small"\n')
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "something").touch()
    command = [sys.executable, "-m", "pneumoscope", "train", str(tmp_path / "small.toml"), "--data", str(phantoms)]
    command += ["--processes", "2", "--out", str(taken)]
    done = subprocess.run(in_own_network(*command), capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr.count("error: expected a new or empty folder") == 1
    assert "Traceback" not in done.stderr


def test_one_process_is_rank_0_of_1():
    distributed.launch(1)
    assert (distributed.world_size(), distributed.rank(), distributed.is_first_rank()) == (1, 0, True)
    assert distributed.on_first_rank(lambda: 3) == 3
    assert distributed.first_rank_then_others(lambda: 4) == 4
    assert distributed.all_sum(1.5, 2) == [1.5, 2]
    with pytest.raises(RunError):
        distributed.on_first_rank(lambda: (_ for _ in ()).throw(RunError("no")))
    with pytest.raises(ConfigError, match="expected 1 process or more"):
        distributed.launch(0)


def test_random_numbers_of_a_shard_are_those_of_the_whole_batch():
    layer = Dropout(0.5).train()
    features = torch.ones(5, 40)
    torch.manual_seed(0)
    whole = layer(features)
    parts = []
    for start, stop in ((0, 2), (2, 5)):
        torch.manual_seed(0)
        with sharded(nn.Sequential(layer), BatchShard(5, start, stop)):
            parts.append(layer(features[start:stop]))
    assert torch.equal(torch.cat(parts), whole)
    assert layer.shard is None


def test_a_layer_forgets_its_shard_when_a_forward_pass_fails():
    layer = Dropout(0.5)
    with pytest.raises(RuntimeError, match="no"), sharded(nn.Sequential(layer), BatchShard(5, 0, 2)):
        raise RuntimeError("no")
    assert layer.shard is None
