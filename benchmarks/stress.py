#!/usr/bin/env python3
"""Time of a whole stress test of the shipped bundles, as the command runs it; writes JSON.

    benchmarks/stress.py --data nih.csv [--bundles nano,default]

Start of the program, images read and altered, predictions, bootstrap and report are all in it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pneumoscope.files import write_json
from pneumoscope.provenance import provenance
from pneumoscope.stress.battery import battery


def timed(bundle, data):
    """Seconds, radiographs and images shown of a stress test."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pneumoscope", "stress", bundle, "--data", data, "--out", folder]
        began = time.perf_counter()
        subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
        radiographs = sum(json.loads((Path(folder) / "stress.json").read_text())["radiographs"].values())
    shown = sum(radiographs if trial.most is None else min(trial.most, radiographs) for trial in battery())
    return {"seconds": seconds, "radiographs": radiographs, "images_shown": shown}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--bundles", type=lambda text: text.split(","), default=["nano", "default"])
    parser.add_argument("--out", type=Path, default=Path("results/speed/stress.json"))
    options = parser.parse_args()
    made = provenance("benchmarks/stress.py")
    write_json(
        options.out,
        {"bundles": {bundle: timed(bundle, options.data) for bundle in options.bundles}, "cores": os.cpu_count()}
        | made,
    )
    print(options.out)


if __name__ == "__main__":
    main()
