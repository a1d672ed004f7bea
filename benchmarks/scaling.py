"""Scoring through Ray beside the batch command on this machine's cores, and the driver's memory; writes JSON.

    .venv/bin/python benchmarks/scaling.py [--images 20000] [--rounds 3] [--rows 2000 20000 200000]

Throughput is that of a command from start to end, the cluster's start and end included, on images repeated from a list, and
beside it without the time in which nothing is judged yet. Memory is the largest resident set of the command's own process; the
images of that part are judged by `nano`, for the driver sees none of them. Everything runs in a network of its own: Ray listens
on every interface.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "experiments"))
import own_network

PROGRAM = str(Path(sys.executable).with_name("pneumoscope"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, nargs="*", default=[2_000, 20_000, 200_000])
    parser.add_argument("--out", type=Path, default=Path("results/speed/scaling.json"))
    options = parser.parse_args()
    own_network.enter()
    from pneumoscope.data.locate import locate
    from pneumoscope.files import write_json
    from pneumoscope.provenance import provenance

    images = sorted(map(str, (locate(None).root / "train").rglob("*.jpeg")))
    measured = {}

    def note(name, values, unit, digits=0):
        measured[name] = {"median": statistics.median(values), "values": values, "unit": unit, "digits": digits}
        print(name, measured[name], flush=True)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.rounds:
            listed = table(folder, images, options.images)
            rates = {"predict": [], "local engine": [], "Ray": [], "Ray, start left out": []}
            for place in range(options.rounds):
                out = [str(folder / f"{engine}-{place}") for engine in ("predict", "local", "ray")]
                rates["predict"].append(options.images / timed(["predict", listed, "--out", f"{out[0]}.parquet"])[0])
                local = timed(["scale", "score", listed, "--out", out[1], "--engine", "local"])
                rates["local engine"].append(options.images / local[0])
                seconds, first, _ = timed(["scale", "score", listed, "--out", out[2]], Path(out[2]))
                rates["Ray"].append(options.images / seconds)
                # Both workers bring their first partitions at about the same time; the rest is counted from there.
                rates["Ray, start left out"].append((options.images - first[1]) / (seconds - first[0]))
            for engine, values in rates.items():
                note(f"{engine}, films a second", values, "1/s")
            for engine in list(rates)[1:]:
                shares = [each / predict for each, predict in zip(rates[engine], rates["predict"], strict=True)]
                note(f"{engine}, share of predict", shares, "", 2)
        for rows in options.rows:
            listed, out = table(folder, images, rows), folder / f"rows-{rows}"
            peak = timed(["scale", "score", listed, "--out", str(out), "--bundle", "nano"])[2]
            note(f"driver's memory at {rows:,} rows", [peak / 2**20], "MB")
    write_json(options.out, {"films": options.images, "measured": measured} | provenance("benchmarks/scaling.py"))


def table(folder, images, count):
    file = folder / f"{count}.csv"
    file.write_text("path\n" + "\n".join(images[i % len(images)] for i in range(count)) + "\n")
    return str(file)


def timed(words, out=None):
    """Seconds of a command; seconds and images of its first partitions in `out`; largest memory of its process in bytes."""
    began, first, peak = time.perf_counter(), None, 0
    run = subprocess.Popen([PROGRAM, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while run.poll() is None:
        time.sleep(0.05)
        peak = max(peak, resident(run.pid))
        if out is not None and first is None and (there := len(list(out.glob("part-*")))):
            first = (time.perf_counter() - began, 1000 * there)
    if run.returncode:
        sys.exit(f"{words} ended with {run.returncode}")
    return time.perf_counter() - began, first, peak


def resident(pid):
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


if __name__ == "__main__":
    main()
