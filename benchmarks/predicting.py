"""Detection with a shipped bundle: from the shell, warm in Python, in batches, and its memory; writes JSON.

    .venv/bin/python benchmarks/predicting.py [--originals DIR] [--many 20000]

Throughput is that of `pneumoscope predict` from start to end, start included, on files repeated from a list; memory the
resident set of the largest process, as the system reports it. Beside it a bare script of the same libraries and network.
"""

import os

# Before NumPy reads it: users have it unset, and what starts threads for nothing would not be seen.
os.environ.pop("OMP_NUM_THREADS", None)

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pneumoscope.bundle import SHIPPED
from pneumoscope.data.locate import locate
from pneumoscope.files import write_json
from pneumoscope.inference.detector import load_detector
from pneumoscope.provenance import provenance

BARE = """
import sys, numpy as np, onnxruntime, simplejpeg
from PIL import Image
from pneumoscope.bundle import find_bundle
bundle = find_bundle("default")
session = onnxruntime.InferenceSession(bundle.model, providers=["CPUExecutionProvider"])
film = simplejpeg.decode_jpeg(open(sys.argv[1], "rb").read(), colorspace="GRAY")[:, :, 0]
film = np.asarray(Image.fromarray(film).resize((224, 224)))
print(session.run(["logits"], {"films": film[None]}))
"""


WATCH = """
import os, sys, time
began = time.perf_counter()
child = os.fork()
if child == 0:
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    os.execv(sys.argv[1], sys.argv[1:])
_, status, used = os.wait4(child, 0)
print(time.perf_counter() - began, used.ru_maxrss, status)
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--originals", type=Path, help="folder of films of their own size")
    parser.add_argument("--many", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("results/speed/predicting.json"))
    options = parser.parse_args()
    small = sorted(map(str, (locate(None).root / "train").rglob("*.jpeg")))
    measured = {}

    def note(name, values, unit, digits=0):
        measured[name] = {"median": statistics.median(values), "values": values, "unit": unit, "digits": digits}
        print(f"{name:<70}{statistics.median(values):8.{digits}f} {unit}", flush=True)

    program = Path(sys.executable).with_name("pneumoscope")
    for name, command in (
        ("from shell to answer, one film", [program, "predict", small[0]]),
        ("the same by a bare script: no guard, placement, calibration", [sys.executable, "-c", BARE, small[0]]),
    ):
        runs = [finished(command) for _ in range(options.rounds)]
        note(name, [seconds for seconds, _ in runs], "s", 2)
        note(f"memory: {name}", [megabytes for _, megabytes in runs], "MB")
    originals = sorted(map(str, options.originals.rglob("*.jpeg"))) if options.originals else []
    for bundle in SHIPPED:
        detector = load_detector(bundle)
        for kind, images in (
            ("224 x 224", small[::29][:150]),
            ("of its own size (1 to 3 million pixels)", originals[:60]),
        ):
            if not images:
                continue
            for evidence in (False, True):
                words = f"{bundle}, warm, one film {kind}{', with its evidence map' if evidence else ''}"
                note(words, [warm(detector, images, evidence) for _ in range(options.rounds)], "ms", 1)
        with tempfile.TemporaryDirectory() as folder:
            for kind, images, count in (("224 x 224", small, 4000), ("of their own size", originals, 1000)):
                if images:
                    rates = [batch(program, folder, bundle, images, count)[0] for _ in range(3)]
                    note(
                        f"{bundle}, predict --out, {count:,} films {kind}, {os.cpu_count()} processes", rates, "films/s"
                    )
            if bundle == "default":
                for count in (1000, options.many):
                    _, megabytes = batch(program, folder, bundle, small, count)
                    note(f"memory of the largest process, {count:,} films", [megabytes], "MB")
    made = provenance("benchmarks/predicting.py")
    write_json(options.out, {"measured": measured} | made)


def finished(command):
    """Seconds of a command, and megabytes of the largest of its processes."""
    # From a small process of its own: a child counts what its parent held when it was made.
    done = subprocess.run([sys.executable, "-S", "-c", WATCH, *command], capture_output=True, text=True, check=True)
    seconds, kilobytes, status = map(float, done.stdout.split())
    if status:
        raise SystemExit(f"{command} ended with {status}")
    return seconds, kilobytes / 1024


def warm(detector, images, evidence):
    """Milliseconds an image."""
    detector.predict(images[0], evidence=evidence)
    began = time.perf_counter()
    for image in images:
        detector.predict(image, evidence=evidence)
    return (time.perf_counter() - began) / len(images) * 1000


def batch(program, folder, bundle, images, count):
    """Images per second, and megabytes of the largest process."""
    listed = Path(folder) / "films.csv"
    listed.write_text("path\n" + "\n".join(images[i % len(images)] for i in range(count)) + "\n")
    command = [program, "predict", listed, "--out", Path(folder) / "p.jsonl", "--overwrite", "--bundle", bundle]
    seconds, megabytes = finished(command)
    return count / seconds, megabytes


if __name__ == "__main__":
    main()
