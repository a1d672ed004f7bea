"""The settings that the detector's training has beyond the study's."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_loop import SIDE, Interrupting, assert_same_weights, config_of, images, run_training
from torch import nn

from pneumoscope.config import AugmentationConfig, ModelConfig
from pneumoscope.errors import ConfigError
from pneumoscope.models.registry import build_model
from pneumoscope.training.averaging import WeightAverage
from pneumoscope.training.batches import AugmentedInputs, training_steps
from pneumoscope.training.optimiser import OneCycleAdamW
from pneumoscope.training.predict import class_probabilities

AUGMENTATION = AugmentationConfig(
    rotation_degrees=5, stretch=1.1, tone=0.1, smallest_resolution=24, jpeg_quality=50, letters=0.3, noise=3
)
DETECTOR = {
    "optimiser": "adamw",
    "learning_rate": 4e-3,
    "weight_decay": 0.01,
    "label_smoothing": 0.05,
    "balance": True,
    "average": 0.9,
}


def detector_config(**changes):
    config = config_of(**(DETECTOR | changes))
    model = ModelConfig("nano", 3, freeze_base=False, dropout=0.2, stochastic_depth=0.2)
    return replace(config, model=model, augmentation=AUGMENTATION)


def detector(config):
    return build_model(
        ModelConfig("nano", freeze_base=False, dropout=config.model.dropout, stochastic_depth=0.2),
        seed=config.training.seed,
        height=SIDE,
        width=SIDE,
    )


def test_interrupted_detector_training_resumes_bit_for_bit(tmp_path):
    config = detector_config()
    run_training(tmp_path / "whole", config, detector(config))
    with pytest.raises(KeyboardInterrupt):
        run_training(tmp_path / "torn", config, detector(config), observer=Interrupting(8))
    run_training(tmp_path / "torn", config, detector(config))
    assert_same_weights(tmp_path / "whole/model.safetensors", tmp_path / "torn/model.safetensors")


def test_a_detector_learns_what_can_be_seen(tmp_path):
    config = detector_config(epochs=20)
    _, state, model = run_training(tmp_path / "run", config, detector(config), count=90)
    assert state.history[-1].val_accuracy == 1.0
    assert (class_probabilities(model, images(30, 5), "fp32").argmax(axis=1) == images(30, 5).labels).all()


def test_the_mean_of_the_weights_is_validated_and_kept(tmp_path):
    config = config_of(average=0.95)
    _, plain, _ = run_training(tmp_path / "plain", config_of())
    _, averaged, model = run_training(tmp_path / "averaged", config)
    assert [r.loss for r in plain.history] == [r.loss for r in averaged.history]
    assert [r.val_loss for r in plain.history] != [r.val_loss for r in averaged.history]
    probability = class_probabilities(model, images(12, 1), "fp32")
    loss = -np.log(probability[np.arange(12), images(12, 1).labels]).mean()
    assert loss == pytest.approx(averaged.history[-1].val_loss, rel=1e-4)


def test_mean_of_weights_follows_its_formula():
    model = build_model(ModelConfig("cnn", 2), seed=0, height=32, width=32)
    weight = model.own_state()["head.2.bias"]
    average = WeightAverage(model, 0.5, {})
    expected = weight.clone()
    for step in range(1, 6):
        weight += 1.0
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weight
    torch.testing.assert_close(average.values["head.2.bias"], expected)
    own = weight.clone()
    with average.in_place():
        torch.testing.assert_close(weight, expected)
    torch.testing.assert_close(weight, own)


def test_adamw_takes_one_cycle_and_spares_biases():
    layer = nn.Linear(3, 2)
    optimiser = OneCycleAdamW(layer.parameters(), 0.1, 0.5, total_steps=40)
    rates = []
    for step in range(40):
        layer.weight.grad, layer.bias.grad = torch.zeros(2, 3), torch.zeros(2)
        optimiser.before_step(step)
        rates.append(optimiser.param_groups[0]["lr"])
        if step == 0:
            weight, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
            optimiser.step()
            torch.testing.assert_close(layer.weight.detach(), weight * (1 - rates[0] * 0.5))
            torch.testing.assert_close(layer.bias.detach(), bias)
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == pytest.approx(0.1)
    assert np.argmax(rates) == 9
    assert rates[-1] == pytest.approx(0, abs=1e-9)
    assert rates[9:] == sorted(rates[9:], reverse=True)


def test_epochs_differ_and_an_epoch_is_always_the_same():
    inputs = AugmentedInputs(images(10, 0), AUGMENTATION)

    def epoch(seed, number):
        return torch.cat([step.micro_batches[0].images for step in training_steps(inputs, 4, True, seed, number)])

    assert torch.equal(epoch(0, 1), epoch(0, 1))
    assert not torch.equal(epoch(0, 1), epoch(0, 2))
    assert not torch.equal(epoch(0, 1), epoch(1, 1))


def test_changed_images_do_not_depend_on_the_batch():
    inputs = AugmentedInputs(images(10, 0), AUGMENTATION).for_epoch(3, 4)
    no_flip = np.zeros(10, dtype=bool)
    whole = inputs.take(np.arange(10), no_flip)
    torch.testing.assert_close(inputs.take(np.arange(4, 7), no_flip[:3]), whole[4:7])


def test_surroundings_come_from_other_training_images_whatever_the_batch():
    data = images(10, 0)
    inputs = AugmentedInputs(data, AugmentationConfig(surroundings=1)).for_epoch(0, 1)
    no_flip = np.zeros(10, dtype=bool)
    whole = inputs.take(np.arange(10), no_flip)
    torch.testing.assert_close(inputs.take(np.arange(4, 7), no_flip[:3]), whole[4:7])
    corners = (whole[:, 0, 0, 0] * 255).round().to(torch.uint8).numpy()
    others = data.images[data.positions][:, 0, [0, -1]]
    taken = [corner in np.delete(others, i, axis=0) and corner not in others[i] for i, corner in enumerate(corners)]
    assert any(taken)


def test_balanced_classes_count_alike(tmp_path):
    """With one class ten times as frequent, an untrained network's loss is still the mean over classes."""
    from pneumoscope.training.loop import _training_loss

    data = images(30, 0)
    labels = np.repeat([0, 1, 2], [20, 8, 2])
    loss = _training_loss(replace(data, labels=labels), config_of(balance=True).training)
    np.testing.assert_allclose(loss.weight.numpy() * [20, 8, 2], 10, rtol=1e-6)


def test_a_frozen_base_takes_no_augmentation(tmp_path):
    config = replace(config_of(), augmentation=AUGMENTATION)
    model = build_model(ModelConfig("nano", freeze_base=True), seed=0, height=SIDE, width=SIDE)
    with pytest.raises(ConfigError, match="expected no augmentation for a network with a frozen base"):
        run_training(tmp_path / "run", config, model)
