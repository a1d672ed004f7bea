"""Runtimes and number formats for a shipped detector: images per second, and what each changes in the answers; writes JSON.

    .venv/bin/python benchmarks/engines.py [--bundle default] [--rounds 5]

OpenVINO and the quantising tools come from an environment of their own, made on first use (.venv-engines). Images are the
tenth of the training images that watched the training; int8 is calibrated on 300 others. Each round asks every engine in turn.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ENVIRONMENT = Path(".venv-engines")
PACKAGES = ("onnxruntime", "onnx", "openvino", "nncf")
CALIBRATION_IMAGES = 300
BATCHES = (1, 8)
THREADS = (1, 2)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="default")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=160, help="per round and engine")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--inner", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inner:
        measure(options.inner, options.rounds, options.images)
    else:
        compare(options)


def compare(options):
    """In the project's environment: images and the judgement of the answers."""
    from pneumoscope import paths
    from pneumoscope.bundle import find_bundle
    from pneumoscope.config import SplitConfig
    from pneumoscope.data.dataset import load_dataset
    from pneumoscope.data.locate import locate
    from pneumoscope.decision import pneumonia_probability
    from pneumoscope.evaluation.metrics import roc_auc
    from pneumoscope.files import write_json
    from pneumoscope.provenance import provenance
    from pneumoscope.types import THREE_CLASS, Split

    bundle = find_bundle(options.bundle)
    manifest = bundle.manifest
    dataset = load_dataset(locate(None).root, manifest.preprocessing, SplitConfig(), paths.images_directory())
    watched, learnt = dataset.positions(Split.VALIDATION), dataset.positions(Split.TRAIN)
    positive = dataset.labels(THREE_CLASS, watched) > 0
    if not ENVIRONMENT.exists():
        subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
        subprocess.run([ENVIRONMENT / "bin/pip", "install", "--quiet", *PACKAGES], check=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "model.onnx").write_bytes(bundle.model)
        np.save(folder / "films.npy", dataset.images[watched])
        chosen = np.random.default_rng(0).choice(learnt, CALIBRATION_IMAGES, replace=False)
        np.save(folder / "calibration.npy", dataset.images[np.sort(chosen)])
        inner = [ENVIRONMENT / "bin/python", __file__, "--inner", folder]
        subprocess.run([*inner, "--rounds", str(options.rounds), "--images", str(options.images)], check=True)
        told = json.loads((folder / "told.json").read_text())
        logits = dict(np.load(folder / "logits.npz"))
    rule = manifest.operating_points["balanced"]
    first = None
    for engine, values in logits.items():
        probability = pneumonia_probability(manifest.calibration.probabilities(values))
        decisions = np.array([decision.value for decision in rule.decide(probability)])
        answer = probability >= rule.threshold
        first = first or (probability, decisions, answer)
        told["answers"][engine] = {
            "largest_change_of_probability": float(np.abs(probability - first[0]).max()),
            "changed_answers": int((answer != first[2]).sum()),
            "changed_decisions": int((decisions != first[1]).sum()),
            "auc": roc_auc(probability, positive),
        }
        print(engine, told["answers"][engine])
    made = provenance("benchmarks/engines.py")
    record = {"detector": manifest.name, "bundle": bundle.sha256, "films": len(watched), **told} | made
    out = options.out or Path(f"results/speed/engines-{manifest.name}.json")
    write_json(out, record)
    print(out)


def measure(folder, rounds, images_per_round):
    """In the engines' environment: builds every engine, asks each for its logits, then all in turn for their speed."""
    import onnxruntime
    import openvino

    images = np.load(folder / "films.npy")
    quantise(folder)
    engines, refused = {}, {}
    openvino_files = {"fp32": ("fp32.onnx", "f32"), "bf16": ("fp32.onnx", "bf16"), "int8": ("openvino-int8.xml", "f32")}
    for threads in THREADS:
        for kind in ("fp32", "int8"):
            engines[f"onnxruntime {kind}", threads] = onnxruntime_engine(folder / f"{kind}.onnx", threads)
        for kind, (file, precision) in openvino_files.items():
            try:
                engines[f"openvino {kind}", threads] = openvino_engine(folder / file, threads, precision)
            except RuntimeError as error:  # a network that this version cannot compile is a result too
                refused[f"openvino {kind}"] = [line for line in str(error).splitlines() if line.strip()][-1]
    logits = {name: run(images) for (name, threads), run in engines.items() if threads == 1}
    np.savez(folder / "logits.npz", **logits)
    rates = {}
    for _ in range(rounds):
        for (name, threads), run in engines.items():
            for batch in BATCHES:
                began = time.perf_counter()
                for start in range(0, images_per_round, batch):
                    run(images[start : start + batch])
                rate = images_per_round / (time.perf_counter() - began)
                rates.setdefault(f"{name}, {threads} threads, batches of {batch}", []).append(rate)
    speed = {name: {"films_per_second": statistics.median(values), "rounds": values} for name, values in rates.items()}
    for name, told in speed.items():
        print(f"{name:<50}{told['films_per_second']:8.0f} films/s", flush=True)
    versions = {"onnxruntime": onnxruntime.__version__, "openvino": openvino.__version__}
    (folder / "told.json").write_text(
        json.dumps({"versions": versions, "refused": refused, "speed": speed, "answers": {}})
    )


def quantise(folder):
    import nncf
    import onnx
    import openvino
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    images = np.load(folder / "calibration.npy")
    model = onnx.load(folder / "model.onnx")
    # The logits alone are what is compared.
    del model.graph.output[1:]
    onnx.save(model, folder / "fp32.onnx")

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.left = iter(images)

        def get_next(self):
            image = next(self.left, None)
            return None if image is None else {"films": image[None]}

    quant_pre_process(folder / "fp32.onnx", folder / "prepared.onnx", skip_symbolic_shape=True)
    quantize_static(
        folder / "prepared.onnx",
        folder / "int8.onnx",
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    core = openvino.Core()
    quantised = nncf.quantize(core.read_model(folder / "fp32.onnx"), nncf.Dataset([image[None] for image in images]))
    openvino.save_model(quantised, folder / "openvino-int8.xml")


def onnxruntime_engine(file, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(["logits"], {"films": images})[0]


def openvino_engine(file, threads, precision):
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    compiled = core.compile_model(file, "CPU", settings)
    return lambda images: compiled(images)[0].copy()


if __name__ == "__main__":
    main()
