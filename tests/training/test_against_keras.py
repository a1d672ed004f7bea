"""Optimiser, early stopping and training steps against tf.keras (golden/make_keras_golden.py)."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pneumoscope.config import TrainingConfig
from pneumoscope.models.cnn import build_cnn
from pneumoscope.training.batches import as_network_input
from pneumoscope.training.callbacks import EpochResult
from pneumoscope.training.checkpoint import TrainingState
from pneumoscope.training.loop import _after_epoch
from pneumoscope.training.optimiser import KerasAdam

GOLDEN_FOLDER = Path(__file__).parents[1] / "golden"
sys.path.insert(0, str(GOLDEN_FOLDER))
import seeded_values  # noqa: E402

GOLDEN = json.loads((GOLDEN_FOLDER / "keras_golden.json").read_text())


def ours():
    weight = nn.Parameter(torch.from_numpy(seeded_values.ADAM_START.copy()))
    optimiser = KerasAdam([weight], seeded_values.ADAM_RATE, seeded_values.ADAM_DECAY)
    for step, gradient in enumerate(seeded_values.adam_gradients()):
        weight.grad = torch.from_numpy(gradient)
        optimiser.before_step(step)
        optimiser.step()
        yield weight.detach().numpy().copy()


def test_adam_follows_keras_step_by_step():
    for found, expected in zip(ours(), GOLDEN["adam"], strict=True):
        np.testing.assert_allclose(found, expected, rtol=2e-6)


def test_adam_follows_the_formula_step_by_step():
    weight = seeded_values.ADAM_START.astype(np.float64)
    mean, square = np.zeros(3), np.zeros(3)
    for step, (gradient, found) in enumerate(
        zip(seeded_values.adam_gradients().astype(np.float64), ours(), strict=True)
    ):
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        rate = seeded_values.ADAM_RATE / (1 + seeded_values.ADAM_DECAY * step)
        rate *= np.sqrt(1 - 0.999 ** (step + 1)) / (1 - 0.9 ** (step + 1))
        weight = weight - rate * mean / (np.sqrt(square) + 1e-7)
        np.testing.assert_allclose(found, weight, rtol=1e-5)


def test_the_position_of_epsilon_matters_to_this_comparison():
    """PyTorch's own Adam goes elsewhere on the tiny gradients, so the two tests above can fail."""
    weight = nn.Parameter(torch.from_numpy(seeded_values.ADAM_START.copy()))
    plain = torch.optim.Adam([weight], lr=seeded_values.ADAM_RATE, eps=1e-7)
    for step, gradient in enumerate(seeded_values.adam_gradients()):
        weight.grad = torch.from_numpy(gradient)
        plain.param_groups[0]["lr"] = seeded_values.ADAM_RATE / (1 + seeded_values.ADAM_DECAY * step)
        plain.step()
    assert abs(weight[1].item() - GOLDEN["adam"][-1][1]) > 1e-3


def test_training_steps_of_model_2_follow_keras():
    model = build_cnn(3, 0)
    kernels = seeded_values.cnn_weights()
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        for layer, kernel, bias in zip(layers, kernels[::2], kernels[1::2], strict=True):
            order = (3, 2, 0, 1) if kernel.ndim == 4 else (1, 0)
            layer.weight.copy_(torch.from_numpy(kernel.transpose(order).copy()))
            layer.bias.copy_(torch.from_numpy(bias))
    images, labels = seeded_values.images()
    inputs, label = as_network_input(images), torch.from_numpy(labels)
    optimiser = KerasAdam(model.parameters(), 1e-4, 1e-5)
    losses = []
    for step in range(seeded_values.CNN_STEPS):
        loss = nn.functional.cross_entropy(model(inputs), label)
        optimiser.zero_grad()
        loss.backward()
        optimiser.before_step(step)
        optimiser.step()
        losses.append(loss.item())
    np.testing.assert_allclose(losses, GOLDEN["cnn"]["losses"], rtol=1e-4)
    np.testing.assert_allclose(model(inputs).detach().numpy(), GOLDEN["cnn"]["logits"], atol=2e-3)


@pytest.mark.parametrize("case", range(len(seeded_values.VALIDATION_LOSSES)))
def test_early_stopping_runs_as_many_epochs_as_keras(case):
    losses = seeded_values.VALIDATION_LOSSES[case]
    state = TrainingState()
    settings = TrainingConfig(epochs=len(losses), patience=3)
    for epoch, loss in enumerate(losses, start=1):
        _after_epoch(EpochResult(epoch, 1.0, 0.5, loss, 0.5, 1e-4, 1.0, 1.0), build_cnn(2, 0, 32, 32), settings, state)
        if state.stopped:
            break
    assert len(state.history) == GOLDEN["early_stopping_epochs"][case]
