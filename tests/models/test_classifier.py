import numpy as np
import pytest
import torch
from torch import nn

from pneumoscope.config import ModelConfig
from pneumoscope.errors import ConfigError, WeightsError
from pneumoscope.models.catalogue import architectures
from pneumoscope.models.classifier import FlattenFeatures, GreyConv2d, initialise_as_keras
from pneumoscope.models.cnn import build_cnn
from pneumoscope.models.registry import build_model, register_builder
from pneumoscope.models.stacked import build_stacked_cnn

ALL = [(a.name, classes) for a in architectures() for classes in (2, 3)]


@pytest.mark.parametrize(
    ("architecture", "classes", "trainable", "frozen"),
    [
        ("cnn", 2, 266_306, 0),
        ("cnn", 3, 352_835, 0),
        ("inception_v3", 3, 13_140_739, 21_802_784),
        ("stacked_cnn", 3, 129_635, 93_248),
    ],
)
def test_parameter_counts_are_the_studys(architecture, classes, trainable, frozen):
    count = build_model(ModelConfig(architecture, classes)).count_parameters()
    assert (count.trainable, count.frozen) == (trainable, frozen)


def test_fine_tuning_makes_the_base_trainable():
    count = build_model(ModelConfig("stacked_cnn", freeze_base=False)).count_parameters()
    assert (count.trainable, count.frozen) == (129_635 + 93_248, 0)


@pytest.mark.parametrize(("architecture", "classes"), ALL)
def test_every_network_gives_logits_and_every_trainable_weight_a_gradient(architecture, classes):
    model = build_model(ModelConfig(architecture, classes), seed=1)
    images = torch.rand(2, 1, 224, 224, generator=torch.Generator().manual_seed(0))
    logits = model(images)
    assert logits.shape == (2, classes)
    assert torch.isfinite(logits).all()
    nn.functional.cross_entropy(logits, torch.tensor([0, 1])).backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name


@pytest.mark.parametrize(("architecture", "classes"), ALL)
def test_the_seed_decides_the_weights(architecture, classes):
    one, two, other = (build_model(ModelConfig(architecture, classes), seed=s).state_dict() for s in (4, 4, 5))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_shapes_on_the_slides():
    shapes = []
    images = torch.zeros(1, 1, 224, 224)
    for layer in build_cnn(3, 0).head[0]:
        images = layer(images)
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            shapes.append(tuple(images.permute(0, 2, 3, 1).shape[1:]))
    assert shapes == [(222, 222, 32), (111, 111, 32), (109, 109, 64), (54, 54, 64), (52, 52, 128), (26, 26, 128)]


def test_initial_weights_are_keras_glorot_uniform_and_zero():
    layer = nn.Sequential(nn.Conv2d(16, 32, 3), nn.Linear(300, 100))
    initialise_as_keras(layer, torch.Generator().manual_seed(0))
    for kernel, fan_in, fan_out in ((layer[0].weight, 16 * 9, 32 * 9), (layer[1].weight, 300, 100)):
        limit = (6 / (fan_in + fan_out)) ** 0.5
        assert kernel.abs().max() <= limit
        assert kernel.abs().max() > 0.98 * limit
        assert kernel.std().item() == pytest.approx(limit / 3**0.5, rel=0.03)
    assert not layer[0].bias.any()
    assert not layer[1].bias.any()


def test_one_grey_channel_gives_what_three_equal_ones_give_in_value_and_gradient():
    layer = GreyConv2d(3, 8, 3, stride=2, padding=1)
    initialise_as_keras(layer, torch.Generator().manual_seed(0))
    grey = torch.rand(2, 1, 20, 20)
    outputs, gradients = [], []
    for images in (grey, grey.expand(-1, 3, -1, -1)):
        layer.zero_grad()
        out = layer(images)
        out.square().sum().backward()
        outputs.append(out)
        gradients.append(layer.weight.grad.clone())
    torch.testing.assert_close(*outputs)
    torch.testing.assert_close(*gradients)


def test_pooling_before_relu_is_the_same_function():
    maps = torch.randn(2, 3, 10, 10)
    pooled_first = nn.functional.relu(nn.functional.max_pool2d(maps, 2))
    assert torch.equal(pooled_first, nn.functional.max_pool2d(nn.functional.relu(maps), 2))


def test_flattening_is_keras_order():
    maps = torch.arange(24.0).reshape(1, 2, 3, 4)
    assert np.array_equal(FlattenFeatures()(maps)[0].numpy(), maps[0].permute(1, 2, 0).numpy().ravel())


def test_stacked_cnn_takes_the_trained_convolutions_over_as_a_copy():
    trained = build_cnn(3, seed=9)
    stacked = build_stacked_cnn(3, seed=1, trained=trained)
    images = torch.rand(2, 1, 224, 224)
    assert torch.equal(stacked.base(images), trained.head[0](images))
    with torch.no_grad():
        next(trained.parameters()).zero_()
    assert next(stacked.base.parameters()).abs().max() > 0


def test_stacked_cnn_takes_only_a_cnn():
    with pytest.raises(WeightsError, match="expected a trained cnn"):
        build_stacked_cnn(3, 0, trained=build_stacked_cnn(3, 0))


def test_images_that_are_too_small_for_the_stacked_cnn_are_refused():
    with pytest.raises(WeightsError, match="at least 190 x 190"):
        build_stacked_cnn(3, 0, height=180, width=200)
    assert build_stacked_cnn(3, 0, height=190, width=190)(torch.zeros(1, 1, 190, 190)).shape == (1, 3)


def test_inception_takes_only_images_of_its_size():
    with pytest.raises(ConfigError, match="224 x 224 for inception_v3, found 128 x 224"):
        build_model(ModelConfig("inception_v3"), height=128)


def test_unknown_architecture_is_refused():
    with pytest.raises(
        ConfigError,
        match="expected an architecture out of cnn, inception_v3, stacked_cnn, lite0, mid, nano, found 'vgg'",
    ):
        build_model(ModelConfig("vgg"))


def test_name_cannot_be_registered_twice():
    with pytest.raises(ValueError, match="has a builder already"):
        register_builder("cnn")(lambda request: build_cnn(2, 0))
    with pytest.raises(ConfigError, match="expected an architecture out of cnn"):
        register_builder("resnet")


@pytest.mark.parametrize("architecture", architectures(), ids=lambda architecture: architecture.name)
def test_catalogue_counts_the_parameters_of_the_networks(architecture):
    for classes, count in architecture.parameters.items():
        assert build_model(ModelConfig(architecture.name, classes)).count_parameters() == count


def test_frozen_base_from_a_file_is_not_saved_with_the_network():
    model = build_model(ModelConfig("inception_v3"))
    assert any(name.startswith("base.") for name in model.own_state())
    model.base_origin = {"file": "weights.h5", "sha256": "0"}
    assert not any(name.startswith("base.") for name in model.own_state())
    model.load_own_state(model.own_state())
