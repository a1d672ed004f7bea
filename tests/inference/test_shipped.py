"""The detectors in the package: whole, within what they promise to cost, and made by the configurations beside them."""

import os
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
import onnx
import pytest

from pneumoscope.bundle import SHIPPED
from pneumoscope.config import DetectorConfig, config_from_table
from pneumoscope.configs import shipped_config
from pneumoscope.data.reading import read_grey
from pneumoscope.inference.detector import load_detector
from pneumoscope.types import NOTICE

ROOT = Path(__file__).resolve().parents[2]
LARGEST = {"default": 4e6, "nano": 2.5e6, "best": 5e6}
BILLION = 1e9


@pytest.fixture(scope="module", params=SHIPPED)
def shipped(request):
    return request.param, load_detector(request.param)


def graph_of(detector):
    return onnx.shape_inference.infer_shapes(onnx.load_from_string(detector.bundle.model)).graph


def arithmetic(graph):
    """Multiplications and additions for the logits of one image; of convolutions and matrix products, which are nearly all."""
    producer = {name: node for node in graph.node for name in node.output}
    needed, waiting = [], ["logits"]
    while waiting:
        node = producer.pop(waiting.pop(), None)
        if node is not None:
            needed.append(node)
            waiting.extend(node.input)
    shapes = {v.name: [d.dim_value or 1 for d in v.type.tensor_type.shape.dim] for v in graph.value_info}
    shapes |= {v.name: [d.dim_value or 1 for d in v.type.tensor_type.shape.dim] for v in [*graph.input, *graph.output]}
    shapes |= {v.name: list(v.dims) for v in graph.initializer}
    total = 0
    for node in needed:
        if node.op_type == "Conv":
            total += 2 * prod(shapes[node.output[0]]) * prod(shapes[node.input[1]][1:])
        elif node.op_type in ("MatMul", "Gemm"):
            total += 2 * prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]
    return total


def test_golden_images_give_their_outputs(shipped):
    assert shipped[1].verify() < 1e-3


def test_a_bundle_is_as_small_as_promised(shipped):
    name, detector = shipped
    path = ROOT / "src/pneumoscope/bundles" / f"{name}.zip"
    assert path.stat().st_size <= LARGEST[name]
    assert 1e7 < arithmetic(graph_of(detector)) <= BILLION


def test_nano_has_few_parameters():
    """The matrix that resizes images to the network's input, and the reference of the evidence, are not trained and do not count."""
    trained = [
        v
        for v in graph_of(load_detector("nano")).initializer
        if v.name.startswith("model.") and not v.name.endswith((".matrix", ".rows", ".columns", ".reference"))
    ]
    assert 1e5 < sum(prod(v.dims) for v in trained) <= 4e5


def test_a_bundle_tells_nothing_of_the_machine_it_was_made_on(shipped):
    path = ROOT / "src/pneumoscope/bundles" / f"{shipped[0]}.zip"
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    for name, content in parts.items():
        # A whole absolute path: the three bytes of a suffix occur among weights by chance.
        absolute_path = rb"(?<!\w)/\w[\w/.-]{3,}\.py\b|/home/|/root/|"
        assert not re.search(absolute_path + rb"site-packages|" + re.escape(str(ROOT).encode()), content), name


def test_a_bundle_is_what_its_configuration_makes(shipped):
    name, detector = shipped
    manifest = detector.bundle.manifest
    config = shipped_config(name)
    assert manifest.name == name
    # The texts stand in the manifest itself (tests/detector_training/test_cross_fitting.py), and may be improved later.
    texts = ("index_hash", "intended_use", "licence", "citation", "ages", "views")
    trained_with, shipped_with = (
        replace(each, detector=replace(each.detector, **dict.fromkeys(texts, "")))
        for each in (config_from_table(manifest.training["config"], "manifest"), config)
    )
    assert trained_with == shipped_with
    assert shipped_with.detector == DetectorConfig(name=config.detector.name, ensemble=config.detector.ensemble)
    assert manifest.preprocessing == shipped_config("default").preprocessing
    members = [config_from_table(each["config"], "manifest") for each in manifest.training.get("members", [])]
    assert members == [replace(shipped_config(each), detector=DetectorConfig()) for each in config.detector.ensemble]
    assert manifest.classes == ("normal", "bacterial", "viral")
    assert manifest.notice == NOTICE
    assert "1 to 5 years" in manifest.intended_use


def test_operating_points_lie_in_their_order(shipped):
    points = shipped[1].bundle.manifest.operating_points
    assert points["sensitive"].threshold < points["balanced"].threshold < points["specific"].threshold
    assert points["sensitive"].sensitivity >= 0.98
    assert points["specific"].specificity >= 0.98


def test_answer_and_evidence_agree(shipped, phantom_dataset):
    name, detector = shipped
    images = np.array(phantom_dataset.images[:3])
    logits = detector.logits(images)
    # What is missing is the logits of the reference, the same for every image, but for the few points on the way to it.
    evidence = detector.evidence(images).mean(axis=(2, 3))
    reference = logits - evidence
    assert np.ptp(reference, axis=0).max() < 0.5 * np.abs(evidence).max()
    members = map(shipped_config, shipped_config(name).detector.ensemble or [name])
    assert all(member.model.mirrored for member in members)
    np.testing.assert_allclose(detector.logits(images[:, :, ::-1]), logits, atol=1e-3)
    assert np.ptp(logits, axis=0).max() > 0.01


def test_the_runtime_tells_nobody_what_it_runs(drawn_radiographs, tmp_path):
    """ONNX Runtime's builds for Linux send telemetry by default, and begin with files in the user's home."""
    image = next(drawn_radiographs.glob("*.png"))
    code = f"from pneumoscope import load_detector; print(load_detector().predict({str(image)!r}).decision)"
    environment = {name: value for name, value in os.environ.items() if name not in ("ORT_DISABLE_TELEMETRY", "CI")}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "elemetry" not in done.stderr
    assert [path for path in tmp_path.rglob("*") if not path.name.startswith(".coverage")] == []


def test_zones_of_a_mirrored_radiograph_are_those_of_the_other_side(shipped, phantoms):
    # The frame is placed anew in the mirrored image, and cells of the map are coarse, so that a part of the evidence crosses a border.
    tolerance = 0.1 if shipped[0] == "nano" else 0.2
    for file in sorted(phantoms.rglob("train/PNEUMONIA/*"))[::10]:
        image = read_grey(file)
        zones, mirrored = (
            shipped[1].predict(each, evidence=True).zones for each in (image, np.ascontiguousarray(image[:, ::-1]))
        )
        assert sum(zones.values()) == pytest.approx(1, abs=0.005)
        for level in ("upper", "middle", "lower"):
            assert mirrored[f"left_{level}"] == pytest.approx(zones[f"right_{level}"], abs=tolerance)
            assert mirrored[f"right_{level}"] == pytest.approx(zones[f"left_{level}"], abs=tolerance)
