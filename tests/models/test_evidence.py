import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto

from pneumoscope.bundle import LOGITS
from pneumoscope.config import ModelConfig
from pneumoscope.inference.network import Network
from pneumoscope.models.ensemble import Ensemble
from pneumoscope.models.evidence import ExplainedClassifier, explain, resample_by_area
from pneumoscope.models.registry import build_model
from pneumoscope.training.batches import as_network_input
from pneumoscope.training.export import export_onnx

# Rows and columns of the evidence maps for images of 224 x 224.
MAP_SIZE = {"cnn": 26, "inception_v3": 5, "stacked_cnn": 26, "lite0": 7, "mid": 14, "nano": 14}
CHANNELS = {"cnn": 128, "inception_v3": 2048, "stacked_cnn": 128, "lite0": 112, "mid": 112, "nano": 112}


def lively(architecture, **settings):
    """A network whose weights are not those of a start: every layer contributes."""
    model = build_model(ModelConfig(architecture, freeze_base=False, **settings), seed=1).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, weight in model.head.named_parameters():
            if weight.dim() == 1:
                weight.normal_(std=0.1, generator=generator)
            elif name == "dense.weight":
                weight.normal_(generator=generator)
    return model


@pytest.mark.parametrize("architecture", MAP_SIZE)
def test_evidence_is_slope_times_maps_and_logits_are_the_networks(architecture):
    model = lively(architecture)
    images = torch.rand(2, 1, 224, 224, generator=torch.Generator().manual_seed(0))
    explained = ExplainedClassifier(model)
    with torch.no_grad():
        logits, evidence, features, feature_maps = explained(images)
        expected = model(images)
    torch.testing.assert_close(logits, expected)
    size = MAP_SIZE[architecture]
    assert evidence.shape == (2, 3, size, size)
    maps = explained.maps(images).detach().requires_grad_()
    if architecture not in ("lite0", "mid"):  # their intermediate maps are not the last
        torch.testing.assert_close(features, maps.mean(dim=(2, 3)))
    assert features.shape == (2, CHANNELS[architecture])
    torch.testing.assert_close(features, feature_maps.mean(dim=(2, 3)))
    rest = maps
    for layer in explained.rest:
        rest = torch.relu(rest) if isinstance(layer, torch.nn.ReLU) else layer(rest)
    for each in range(3):
        (slope,) = torch.autograd.grad(rest[:, each].sum(), maps, retain_graph=True)
        by_autograd = (slope * maps).sum(dim=1) * size * size
        torch.testing.assert_close(evidence[:, each], by_autograd.detach(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("architecture", MAP_SIZE)
def test_evidence_and_biases_sum_to_the_logits(architecture):
    model = lively(architecture)
    with torch.no_grad():
        for module in model.head.modules():
            if getattr(module, "bias", None) is not None:
                module.bias.zero_()
        images = torch.rand(2, 1, 224, 224, generator=torch.Generator().manual_seed(0))
        logits, evidence, *_ = ExplainedClassifier(model)(images)
    torch.testing.assert_close(evidence.mean(dim=(2, 3)), logits, rtol=1e-3, atol=1e-4)


def test_evidence_of_the_lung_fields_lies_where_they_lie_in_the_image():
    model = lively("nano", lung_fields=True, input_side=96)
    images = torch.rand(2, 1, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.head.dense.bias.zero_()
        logits, evidence, features, feature_maps = ExplainedClassifier(model)(images)
        inner = model.base(images)
    assert (evidence.shape, feature_maps.shape) == ((2, 3, 8, 7), (2, 112, 8, 7))
    torch.testing.assert_close(evidence.mean(dim=(2, 3)), logits, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(feature_maps.mean(dim=(2, 3)), features)
    torch.testing.assert_close(features, inner.mean(dim=(2, 3)))
    # The lowest of the eight rows begins at .875, below the lung fields.
    assert not evidence[:, :, -1].any()
    assert evidence[:, :, :-1].abs().sum(dim=1).amin() > 0


def test_equal_maxima_divide_their_contribution():
    """A blank image has the same value everywhere, so that every maximum is reached four times."""
    model = lively("stacked_cnn")
    with torch.no_grad():
        for module in model.head.modules():
            if getattr(module, "bias", None) is not None:
                module.bias.zero_()
        logits, evidence, *_ = ExplainedClassifier(model)(torch.full((1, 1, 224, 224), 0.5))
    torch.testing.assert_close(evidence.mean(dim=(2, 3)), logits, rtol=1e-3, atol=1e-5)


def test_a_map_is_distributed_over_a_finer_grid_by_area():
    maps = torch.tensor([[[[1.0, 3.0], [5.0, 7.0]]]])
    assert resample_by_area(maps, 4, 2)[0, 0].tolist() == [[1, 3], [1, 3], [5, 7], [5, 7]]
    thirds = resample_by_area(maps, 2, 3)[0, 0]
    torch.testing.assert_close(thirds, torch.tensor([[1.0, 2.0, 3.0], [5.0, 6.0, 7.0]]))
    torch.testing.assert_close(resample_by_area(maps, 5, 7).mean(), maps.mean())


def test_evidence_of_an_ensemble_is_the_weighted_sum_of_its_members():
    members = [lively("nano"), lively("lite0")]
    images = torch.rand(2, 1, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits, evidence, features, maps = explain(Ensemble(members, (0.75, 0.25)))(images)
        nano, lite0 = (ExplainedClassifier(member)(images) for member in members)
        expected = 0.75 * members[0](images) + 0.25 * members[1](images)
    torch.testing.assert_close(logits, expected)
    assert evidence.shape == (2, 3, 14, 14)
    torch.testing.assert_close(
        evidence, 0.75 * nano[1] + 0.25 * lite0[1].repeat_interleave(2, 2).repeat_interleave(2, 3)
    )
    assert torch.equal(features, nano[2])
    assert torch.equal(maps, nano[3])


@pytest.mark.parametrize("mirrored", [False, True])
def test_weights_of_an_ensemble_are_stored_in_half_precision_and_those_of_one_network_are_not(mirrored):
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64), dtype=np.uint8)
    settings = ModelConfig("nano", 3, freeze_base=False, mirrored=mirrored)
    members = [build_model(settings, seed=seed, height=64, width=64).eval() for seed in (1, 2)]
    ensemble = Ensemble(members, (0.5, 0.5))
    one, both = export_onnx(members[0], 64, 64), export_onnx(ensemble, 64, 64)
    assert len(both) < 1.15 * len(one)
    kinds = [{each.data_type for each in onnx.load_from_string(file).graph.initializer} for file in (one, both)]
    assert [TensorProto.FLOAT16 in kind for kind in kinds] == [False, True]
    with torch.no_grad():
        expected = ensemble(as_network_input(images)).numpy()
    found = Network(both, 64, 64).run(images, LOGITS)[0]
    assert 0 < np.abs(found - expected).max() < 2e-3 * np.abs(expected).max()
