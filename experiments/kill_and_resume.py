"""A command killed with SIGKILL at random moments and resumed each time must end as the undisturbed one; writes JSON.

    .venv/bin/python experiments/kill_and_resume.py [--kills 50] [--images 3000]          # predict
    .venv/bin/python experiments/kill_and_resume.py --adapt TABLE.csv [--kills 20]        # adapt

The moments are drawn so that some kills hit the start, some the work and some the writing of the result.
"""

import argparse
import filecmp
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pneumoscope.bundle import load_bundle
from pneumoscope.data.locate import locate
from pneumoscope.files import write_json
from pneumoscope.provenance import provenance

QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
PROGRAM = Path(sys.executable).with_name("pneumoscope")


def run_killed(command, seconds):
    """Run a command; kill it after some seconds. Returns whether it was killed."""
    process = subprocess.Popen(command, **QUIET)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True
    return False


def kill_batches(kills, count, longest):
    images = sorted(map(str, (locate(None).root / "train").rglob("*.jpeg")))
    rng, total, told = random.Random(0), 0, {}
    for ending in ("jsonl", "csv", "parquet"):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            chosen = [images[i % len(images)] for i in range(count)]
            chosen[100:100] = [str(folder / "gone.jpeg")]
            (folder / "films.csv").write_text("path\n" + "\n".join(chosen) + "\n")
            command = [PROGRAM, "predict", folder / "films.csv", "--bundle", "nano", "--workers", "2", "--out"]
            whole, out = folder / f"whole.{ending}", folder / f"killed.{ending}"
            subprocess.run([*command, whole], check=False, **QUIET)
            own = 0
            while not out.exists():
                own += run_killed([*command, out], rng.uniform(0, longest) if own < kills else None)
            told[ending] = {"kills": own, "same": filecmp.cmp(whole, out, shallow=False), "bytes": whole.stat().st_size}
            left = sorted(path.name for path in folder.iterdir())
            told[ending]["left"] = [name for name in left if name not in ("films.csv", whole.name, out.name)]
            print(ending, told[ending], flush=True)
            total += own
    return {"kills": total, "films": count + 1, "formats": told}


def kill_adaptations(kills, table):
    """After each kill there must be a whole bundle or none; each one that is made must be the undisturbed one."""
    rng, total, whole = random.Random(0), 0, 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [PROGRAM, "adapt", "--data", table, "--bundle", "nano", "--workers", "2", "--name", "site", "--out"]
        out, expected, began = folder / "killed.zip", folder / "whole.zip", time.monotonic()
        subprocess.run([*command, expected], check=True, **QUIET)
        seconds, parts = time.monotonic() - began, load_bundle(expected).manifest.parts
        moments = []
        while total < kills or not out.exists():
            out.unlink(missing_ok=True)
            moment = rng.uniform(0, seconds) if total < kills else None
            if run_killed([*command, out], moment):
                total += 1
                moments.append(round(moment, 1))
            if out.exists():
                if load_bundle(out).manifest.parts != parts:
                    raise SystemExit(f"another bundle after {total} kills")
                whole += 1
        left = sorted(path.name for path in folder.iterdir())
    return {"kills": total, "seconds": moments, "whole": whole, "undisturbed_seconds": seconds, "left": left}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--longest", type=float, default=3.0, help="seconds from a start to its kill, at most")
    parser.add_argument("--adapt", type=Path, help="labelled images")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    made = provenance("experiments/kill_and_resume.py")
    if options.adapt:
        found = kill_adaptations(options.kills, options.adapt)
        print(found)
        write_json(options.out or Path("results/robustness/kill_adapt.json"), found | made)
        return
    found = kill_batches(options.kills, options.images, options.longest)
    write_json(options.out or Path("results/robustness/kill_and_resume.json"), found | made)


if __name__ == "__main__":
    main()
