import csv
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pneumoscope.config import ModelConfig, RunConfig, TrainingConfig
from pneumoscope.data.labelled import LabelledImages
from pneumoscope.errors import InputError, RunError
from pneumoscope.models.registry import build_model
from pneumoscope.training.batches import ImageInputs, training_steps
from pneumoscope.training.callbacks import SilentObserver
from pneumoscope.training.frozen_features import ComputedFeatures, FrozenBase, frozen_features
from pneumoscope.training.loop import train
from pneumoscope.training.predict import class_probabilities
from pneumoscope.training.run_folder import RunFolder

SIDE = 48  # pixels: small enough for a training in a second


def images(count, seed, side=SIDE):
    """Images whose class can be seen: a bright left or right half, or none."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    pixels = rng.integers(0, 90, (count, side, side), dtype=np.uint8)
    pixels[labels == 1, : side // 2] += 120
    pixels[labels == 2, side // 2 :] += 120
    return LabelledImages(pixels, np.arange(count), labels.astype(np.int64))


def config_of(**changes):
    settings = TrainingConfig(epochs=3, batch_size=8, learning_rate=2e-3, patience=100, precision="fp32")
    return RunConfig("test", ModelConfig("cnn", 3), training=replace(settings, **changes))


def network(config, architecture="cnn", side=SIDE):
    return build_model(ModelConfig(architecture), seed=config.training.seed, height=side, width=side)


def run_training(folder, config, model=None, observer=None, count=40, side=SIDE):
    run = RunFolder(folder)
    run.start(config, {"split_hash": "0"}, resume=(folder / "config.json").exists())
    model = model or network(config)
    state = train(
        model,
        images(count, 0, side),
        images(12, 1, side),
        config,
        run,
        folder / "features",
        observer or SilentObserver(),
    )
    return run, state, model


def assert_same_weights(one, two):
    first, second = load_file(one), load_file(two)
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def test_a_network_learns_what_can_be_seen(tmp_path):
    _, state, model = run_training(tmp_path / "run", config_of(epochs=12))
    assert state.history[-1].val_accuracy == 1.0
    assert state.history[-1].loss < state.history[0].loss / 2
    probability = class_probabilities(model, images(30, 5), "fp32")
    assert (probability.argmax(axis=1) == images(30, 5).labels).all()
    np.testing.assert_allclose(probability.sum(axis=1), 1)


def test_the_seed_decides_every_bit(tmp_path):
    run_training(tmp_path / "a", config_of())
    run_training(tmp_path / "b", config_of())
    assert_same_weights(tmp_path / "a/model.safetensors", tmp_path / "b/model.safetensors")
    run_training(tmp_path / "c", config_of(seed=1))
    with pytest.raises(AssertionError):
        assert_same_weights(tmp_path / "a/model.safetensors", tmp_path / "c/model.safetensors")


def test_run_folder_records_the_training(tmp_path):
    run, state, _ = run_training(tmp_path / "run", config_of())
    assert run.config() == config_of()
    provenance = run.provenance()
    assert provenance["seed"] == 0
    assert provenance["facts"] == {"split_hash": "0"}
    assert provenance["packages"]["torch"].startswith("2.")
    assert {"commit", "machine", "date", "command"} <= provenance.keys()
    with (run.path / "metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["val_loss"]) for row in rows] == [result.val_loss for result in state.history]
    assert len(list((run.path / "tensorboard").iterdir())) == 1


def test_metrics_reach_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run, state, _ = run_training(tmp_path / "run", config_of())
    curves = EventAccumulator(str(run.path / "tensorboard")).Reload()
    assert [event.value for event in curves.Scalars("val_loss")] == pytest.approx([r.val_loss for r in state.history])


class Interrupting(SilentObserver):
    """Stops a training after some batches, as Ctrl-C does."""

    def __init__(self, batches):
        self.batches = batches

    def advance(self, parts, loss=None):
        self.batches -= 1
        if self.batches == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("batches", [1, 7, 11])
def test_interrupted_training_resumes_bit_for_bit(tmp_path, batches):
    run_training(tmp_path / "whole", config_of())
    with pytest.raises(KeyboardInterrupt):
        run_training(tmp_path / "torn", config_of(), observer=Interrupting(batches))
    assert not (tmp_path / "torn/model.safetensors").exists()
    _, state, _ = run_training(tmp_path / "torn", config_of())
    assert len(state.history) == 3
    assert_same_weights(tmp_path / "whole/model.safetensors", tmp_path / "torn/model.safetensors")


CHILD = """
import sys
sys.path.insert(0, {here!r})
from pathlib import Path
from test_loop import config_of, run_training
run_training(Path(sys.argv[1]), config_of(epochs=16), count=96)
"""


@pytest.mark.integration
def test_training_killed_at_any_moment_resumes_bit_for_bit(tmp_path):
    """A real process is really killed, several times over, at moments that fall where they fall."""
    script = tmp_path / "child.py"
    script.write_text(textwrap.dedent(CHILD.format(here=str(Path(__file__).parent))))
    command = [sys.executable, str(script)]
    subprocess.run([*command, str(tmp_path / "whole")], check=True)
    kills = 0
    for attempt in range(40):
        process = subprocess.Popen([*command, str(tmp_path / "torn")])
        deadline = time.monotonic() + 100
        checkpoint = tmp_path / "torn/checkpoint.pt"
        seen = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        while process.poll() is None and time.monotonic() < deadline:
            if kills < 3 and checkpoint.exists() and checkpoint.stat().st_mtime_ns != seen:
                time.sleep(0.013 * (attempt + 1))  # somewhere in the epochs that follow
                process.send_signal(signal.SIGKILL)
                process.wait()
                kills += process.returncode == -signal.SIGKILL
            time.sleep(0.002)
        if process.returncode == 0:
            break
    assert kills == 3
    assert_same_weights(tmp_path / "whole/model.safetensors", tmp_path / "torn/model.safetensors")
    rows = (tmp_path / "torn/metrics.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == [str(epoch) for epoch in range(1, 17)]


def test_finished_checkpoint_needs_no_further_epoch(tmp_path):
    run_training(tmp_path / "run", config_of())
    before = (tmp_path / "run/model.safetensors").read_bytes()
    (tmp_path / "run/model.safetensors").unlink()
    _, state, _ = run_training(tmp_path / "run", config_of(), observer=Interrupting(1))
    assert len(state.history) == 3
    assert (tmp_path / "run/model.safetensors").read_bytes() == before


def test_damaged_checkpoint_is_one_line(tmp_path):
    run_training(tmp_path / "run", config_of())
    (tmp_path / "run/checkpoint.pt").write_bytes(b"half")
    with pytest.raises(RunError, match=r"expected a whole checkpoint at .*: delete the run folder"):
        run_training(tmp_path / "run", config_of())


def test_best_weights_are_restored_with_restore_best(tmp_path):
    wild = {"learning_rate": 0.05, "epochs": 6}
    _, last, _ = run_training(tmp_path / "last", config_of(**wild))
    _, best, model = run_training(tmp_path / "best", config_of(**wild, restore_best=True))
    assert [r.val_loss for r in last.history] == [r.val_loss for r in best.history]
    probability = class_probabilities(model, images(12, 1), "fp32")
    loss = -np.log(probability[np.arange(12), images(12, 1).labels]).mean()
    assert loss == pytest.approx(min(r.val_loss for r in best.history), rel=1e-4)


def test_loss_that_is_no_number_stops_the_training(tmp_path):
    model = network(config_of())
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    with pytest.raises(RunError, match="expected a finite loss, found nan in epoch 1: lower the learning rate"):
        run_training(tmp_path / "run", config_of(), model)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_kept_features_train_like_computed_ones(tmp_path, precision):
    side = 192
    for cached in (True, False):
        config = config_of(precision=precision, cache_features=cached, epochs=2)
        model = build_model(ModelConfig("stacked_cnn"), seed=0, height=side, width=side)
        run_training(tmp_path / str(cached), config, model, count=24, side=side)
    one, two = (load_file(tmp_path / str(cached) / "model.safetensors") for cached in (True, False))
    # Batches of other sizes may be summed in another order; in bf16 one rounding is 2**-8.
    tolerance = 1e-5 if precision == "fp32" else 4e-3
    for name in one:
        assert (one[name] - two[name]).abs().max() <= tolerance, name
    base = build_model(ModelConfig("stacked_cnn"), seed=0, height=side, width=side).base.state_dict()
    for name, tensor in base.items():
        assert torch.equal(one[f"base.{name}"], tensor), "a frozen base must not move"


def test_fine_tuned_base_changes(tmp_path):
    side = 192
    model = build_model(ModelConfig("stacked_cnn", freeze_base=False), seed=0, height=side, width=side)
    before = {name: tensor.clone() for name, tensor in model.base.state_dict().items()}
    run_training(tmp_path / "run", config_of(epochs=1), model, count=16, side=side)
    assert any(not torch.equal(model.base.state_dict()[name], tensor) for name, tensor in before.items())


class Stages(SilentObserver):
    def __init__(self):
        self.names = []

    def stage(self, name, total):
        self.names.append((name, total))


def test_features_are_computed_once_per_image_and_flip_and_damage_is_noticed(tmp_path):
    side = 192
    base = FrozenBase(build_model(ModelConfig("stacked_cnn"), seed=0, height=side, width=side), torch.float32)
    data = images(10, 3, side)
    for damage, expected in ((None, [("f", 20)]), (None, []), ("flip", [("f", 20)])):
        file = tmp_path / "f.bin"
        if damage:
            content = bytearray(file.read_bytes())
            content[77] ^= 255
            file.write_bytes(bytes(content))
        stages = Stages()
        with frozen_features(base, data, True, tmp_path, "f", stages) as kept:
            flips = np.arange(10) % 2 == 0
            found = kept.take(np.arange(10), flips)
            computed = ComputedFeatures(base, data).take(np.arange(10), flips)
            torch.testing.assert_close(found, computed)
            assert found.is_contiguous(memory_format=torch.channels_last)
        assert stages.names == expected


def test_features_of_another_base_or_other_images_are_not_taken(tmp_path):
    side = 192
    for seed, count in ((0, 6), (1, 6), (1, 7)):
        base = FrozenBase(build_model(ModelConfig("stacked_cnn"), seed=seed, height=side, width=side), torch.float32)
        stages = Stages()
        with frozen_features(base, images(count, 3, side), False, tmp_path, "f", stages) as kept:
            assert len(kept) == count
        assert stages.names == [("f", count)]


def test_epochs_differ_in_order_and_flips_and_cover_every_image():
    data = images(30, 0)
    data.images[:, 0, 0] = np.arange(30)
    data.images[:, 0, -1] = np.arange(30) + 100
    orders, mirrored = [], []
    for epoch in (0, 1):
        steps = list(training_steps(ImageInputs(data), 8, True, 0, epoch))
        assert [len(step.labels) for step in steps] == [8, 8, 8, 6]
        corner = np.rint(torch.cat([step.micro_batches[0].images[:, 0, 0, 0] for step in steps]).numpy() * 255).astype(
            int
        )
        mirrored.append(corner >= 100)
        orders.append(corner % 100)
        labels = torch.cat([step.micro_batches[0].label for step in steps]).numpy()
        assert np.array_equal(data.labels[orders[-1]], labels)
        assert sorted(orders[-1].tolist()) == list(range(30))
    assert not np.array_equal(*orders)
    assert 5 < mirrored[0].sum() < 25


def test_no_images_are_refused():
    with pytest.raises(InputError, match="at least one image"):
        LabelledImages(np.zeros((3, 8, 8), np.uint8), np.array([], dtype=np.int64), np.array([], dtype=np.int64))
