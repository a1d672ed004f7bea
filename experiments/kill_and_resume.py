"""A batch killed with SIGKILL at random moments and resumed each time must end as the undisturbed one; writes JSON.

    .venv/bin/python experiments/kill_and_resume.py [--kills 50] [--images 6000]

The moments are drawn over the time that the undisturbed batch took, its start included, so that some kills hit the start, some
the work and some the writing of the result.
"""

import argparse
import filecmp
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pneumoscope.data.locate import locate
from pneumoscope.files import write_json
from pneumoscope.provenance import provenance


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--films", type=int, default=3000)
    parser.add_argument("--longest", type=float, default=3.0, help="seconds from a start to its kill, at most")
    parser.add_argument("--out", type=Path, default=Path("results/robustness/kill_and_resume.json"))
    options = parser.parse_args()
    images = sorted(map(str, (locate(None).root / "train").rglob("*.jpeg")))
    rng, program = random.Random(0), Path(sys.executable).with_name("pneumoscope")
    kills, told = 0, {}
    for ending in ("jsonl", "csv", "parquet"):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            chosen = [images[i % len(images)] for i in range(options.images)]
            chosen[100:100] = [str(folder / "gone.jpeg")]
            (folder / "films.csv").write_text("path\n" + "\n".join(chosen) + "\n")
            command = [program, "predict", folder / "films.csv", "--bundle", "nano", "--workers", "2", "--out"]
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            whole, out = folder / f"whole.{ending}", folder / f"killed.{ending}"
            subprocess.run([*command, whole], check=False, **quiet)
            own = 0
            while not out.exists():
                process = subprocess.Popen([*command, out], **quiet)
                if own < options.kills:
                    time.sleep(rng.uniform(0, options.longest))
                    if process.poll() is None:
                        os.kill(process.pid, signal.SIGKILL)
                        own += 1
                process.wait()
            told[ending] = {"kills": own, "same": filecmp.cmp(whole, out, shallow=False), "bytes": whole.stat().st_size}
            left = sorted(path.name for path in folder.iterdir())
            told[ending]["left"] = [name for name in left if name not in ("films.csv", whole.name, out.name)]
            print(ending, told[ending], flush=True)
            kills += own
    made = provenance("experiments/kill_and_resume.py")
    write_json(options.out, {"kills": kills, "films": options.images + 1, "formats": told} | made)


if __name__ == "__main__":
    main()
