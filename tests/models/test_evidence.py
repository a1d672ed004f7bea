import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto

from pneumoscope.bundle import EVIDENCE, EXPLAINED, INPUT, LOGITS
from pneumoscope.config import ModelConfig
from pneumoscope.inference.network import Network
from pneumoscope.models import evidence as evidence_module
from pneumoscope.models.ensemble import Ensemble
from pneumoscope.models.evidence import ExplainedClassifier, explain, resample_by_area, set_reference
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


@pytest.mark.parametrize("architecture", ["lite0", "mid", "nano"])
@pytest.mark.parametrize("mirrored", [False, True])
def test_evidence_against_normal_images_is_that_of_integrated_gradients(architecture, mirrored):
    """Two points on the way from the reference, by automatic differentiation; and the mean of both views."""
    model = lively(architecture, mirrored=mirrored, lung_fields=True, input_side=96)
    generator = torch.Generator().manual_seed(0)
    images, normals = (torch.rand(n, 1, 224, 224, generator=generator) for n in (3, 5))
    set_reference(model, [normals[:3], normals[3:]])
    with torch.no_grad():
        logits, evidence, *_ = ExplainedClassifier(model)(images)
        chosen = ExplainedClassifier(model)(images, torch.tensor([2, 0]))[1]
    torch.testing.assert_close(logits, model(images).detach())
    # A batch of another size rounds differently, and where a ReLU bends, slopes do with it.
    torch.testing.assert_close(chosen, evidence[[2, 0]], rtol=0, atol=1e-2 * float(evidence.abs().max()))
    *fixed, trunk = model.base
    # Stem, normalisation, activation and four blocks.
    lower, upper = torch.nn.Sequential(*fixed, *list(trunk)[:7]), torch.nn.Sequential(*list(trunk)[7:])
    assert evidence.shape[2:] == (15, 14)  # the lung fields in 12 x 12 cells

    def flipped(some):
        return some.flip(3)

    with torch.no_grad():
        views = [lower(images), lower(flipped(images))] if mirrored else [lower(images)]
        reference = lower(torch.cat([normals, flipped(normals)]) if mirrored else normals).mean(dim=0)
    torch.testing.assert_close(model.base.reference, reference)
    expected = []
    for maps in views:
        slopes = []
        for fraction in (0.25, 0.75):
            point = (reference + fraction * (maps - reference)).requires_grad_()
            found = model.head(upper(point))
            slopes.append([torch.autograd.grad(found[:, k].sum(), point, retain_graph=True)[0] for k in range(3)])
        slope = (torch.stack(slopes[0], dim=1) + torch.stack(slopes[1], dim=1)) / 2
        expected.append((slope * (maps - reference).unsqueeze(1)).sum(dim=2))
    whole = expected[0] if not mirrored else (expected[0] + flipped(expected[1])) / 2
    # Given for the whole frame, in which the lung fields are a part; the sum over all positions is kept.
    total = whole.sum(dim=(2, 3))
    torch.testing.assert_close(evidence.mean(dim=(2, 3)), total, rtol=0, atol=1e-2 * float(total.abs().max()))
    assert not evidence[:, :, -1].any()


def test_evidence_against_normal_images_sums_to_what_sets_the_logits_apart(monkeypatch):
    """By a fine enough path."""
    monkeypatch.setattr(evidence_module, "_POINTS", 60)
    model = lively("nano")
    generator = torch.Generator().manual_seed(0)
    images, normals = (torch.rand(n, 1, 224, 224, generator=generator) for n in (4, 6))
    set_reference(model, [normals])
    with torch.no_grad():
        logits, evidence, *_ = ExplainedClassifier(model)(images)
        upper = torch.nn.Sequential(*model.base.trunk.explained_layers)
        apart = logits - model.head(upper(model.base.reference[None]))
    assert (evidence.mean(dim=(2, 3)) - apart).abs().max() < 0.03 * apart.abs().max()
    # A normal image of its own has nothing that sets it apart.
    set_reference(model, [images[:1]])
    with torch.no_grad():
        assert not ExplainedClassifier(model)(images[:1])[1].any()


def test_without_normal_images_there_is_no_reference():
    model = lively("nano")
    set_reference(model, [])
    assert model.base.reference is None
    assert "reference" not in " ".join(model.own_state())
    study = lively("cnn")
    set_reference(study, [torch.rand(1, 1, 224, 224)])
    assert not hasattr(study.base, "reference")


def test_evidence_is_computed_for_the_images_that_are_asked_for():
    """The exported network explains none unless it is told which: evidence takes several times the arithmetic of the logits."""
    model = build_model(ModelConfig("nano", freeze_base=False), seed=1, height=64, width=64).eval()
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64), dtype=np.uint8)
    set_reference(model, [as_network_input(images)])
    exported = export_onnx(model, 64, 64)
    logits, evidence = Network(exported, 64, 64).run(images, LOGITS, EVIDENCE)
    with torch.no_grad():
        expected = ExplainedClassifier(model)(as_network_input(images))
    np.testing.assert_allclose(logits, expected[0].numpy(), atol=1e-4)
    np.testing.assert_allclose(evidence, expected[1].numpy(), rtol=1e-3, atol=1e-4)
    session = onnxruntime.InferenceSession(exported)
    assert [each.name for each in session.get_inputs()] == [INPUT]
    none = session.run([LOGITS, EVIDENCE], {INPUT: images})
    np.testing.assert_allclose(none[0], logits, atol=1e-5)
    assert none[1].shape == (0, *evidence.shape[1:])
    one = session.run([EVIDENCE], {INPUT: images, EXPLAINED: np.array([1])})[0]
    np.testing.assert_allclose(one, evidence[1:2], rtol=1e-3, atol=1e-4)


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
