"""Two checkouts side by side: predictions, HTTP answers, bundles, trainings and run folders must be equal; writes JSON.

    .venv/bin/python experiments/equivalence.py --before CHECKOUT [--only predict,http] [--keep FOLDER]

Runs the same commands with the source of each checkout, in this environment or one of its own, and compares what they print and write byte
for byte. Needs the data set (PNEUMOSCOPE_DATA). Nothing is evaluated on the test images: predictions are only compared.
"""

import argparse
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
BUNDLES = ("default", "nano")
ODD_INPUTS = 200
# Inputs whose reading was changed on purpose; they are left out, and named in the record.
CHANGED = {
    "dicom-JPEG-lossy.dcm": "12-bit JPEG: could not be decoded before, is decoded now",
    "dicom-JPGExtended.dcm": "12-bit JPEG, lossy: another decoder rounds differently",
    "dicom-MR_truncated.dcm": "unreadable before and after, for the same cause in other words",
}
RUN_FIELDS_OF_TIME = ("seconds", "films_per_second")

CNN = """
name = "equivalence_cnn"
[model]
architecture = "cnn"
classes = 3
[preprocessing]
height = 64
width = 64
[training]
epochs = 3
precision = "fp32"
"""
DETECTOR = """
name = "equivalence_detector"
[model]
architecture = "nano"
classes = 3
freeze_base = false
input_side = 64
mirrored = true
style_mixing = 0.5
dropout = 0.2
stochastic_depth = 0.1
[preprocessing]
height = 96
width = 96
fit = "chest"
[augmentation]
rotation_degrees = 8
stretch = 1.2
shift = 0.05
tone = 0.3
smallest_resolution = 48
jpeg_quality = 30
letters = 0.5
noise = 4
[training]
epochs = 2
optimiser = "adamw"
learning_rate = 1e-3
average = 0.9
balance = true
odd_repeats = 2
precision = "fp32"
[detector]
name = "equivalence"
folds = 2
"""


class Side:
    """One checkout: runs its commands and keeps what they give."""

    def __init__(self, checkout, folder, data, python=sys.executable):
        self.folder, self.data, self.interpreter = folder, data, str(python)
        folder.mkdir(parents=True)
        self.environment = os.environ | {
            "PYTHONPATH": str(checkout / "src"),
            "PNEUMOSCOPE_CACHE": str(folder / "cache"),
            "PNEUMOSCOPE_DATA": str(data),
        }

    def run(self, *words, check=(0, 3)):
        command = [self.interpreter, "-m", "pneumoscope", *map(str, words)]
        done = subprocess.run(command, capture_output=True, cwd=self.folder, env=self.environment, check=False)
        if done.returncode not in check:
            raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr.decode()}")
        return done.stdout

    def python(self, code):
        command = [self.interpreter, "-c", code]
        return subprocess.run(command, capture_output=True, cwd=self.folder, env=self.environment, check=True).stdout


def encoded(image, kind, **settings):
    with io.BytesIO() as buffer:
        image.save(buffer, kind, **settings)
        return buffer.getvalue()


def odd_inputs(data, folder):
    """Images that are no plain radiographs: turned, inverted, small, blank, cut short, of other formats and other things."""
    folder.mkdir()
    files = sorted((data / "test").rglob("*.jpeg"))
    made = {}
    for number, file in enumerate(files[:: len(files) // 6][:6]):
        image = Image.open(file).convert("L")
        grey = np.asarray(image)
        made |= {
            f"{number}-inverted.png": encoded(Image.fromarray(255 - grey), "PNG"),
            f"{number}-upside-down.png": encoded(image.rotate(180), "PNG"),
            f"{number}-lying.png": encoded(image.rotate(90), "PNG"),
            f"{number}-small.png": encoded(image.resize((63, 63)), "PNG"),
            f"{number}-smallest.png": encoded(image.resize((64, 64)), "PNG"),
            f"{number}-long.png": encoded(image.resize((600, 120)), "PNG"),
            f"{number}-pale.png": encoded(Image.fromarray((grey // 20 + 100).astype(np.uint8)), "PNG"),
            f"{number}-dark.jpeg": encoded(Image.fromarray(grey // 3), "JPEG"),
            f"{number}-half.png": encoded(
                Image.fromarray(np.where(np.arange(224) < 112, grey, 0).astype(np.uint8)), "PNG"
            ),
            f"{number}-16-bit.png": encoded(Image.fromarray(grey.astype(np.uint16) * 257), "PNG"),
            f"{number}-12-bit.png": encoded(Image.fromarray(grey.astype(np.uint16) * 16), "PNG"),
            f"{number}-large.jpeg": encoded(image.resize((1900, 1500)), "JPEG", quality=90),
            f"{number}-colour.jpeg": encoded(image.convert("RGB"), "JPEG"),
            f"{number}-cmyk.jpeg": encoded(image.convert("CMYK"), "JPEG"),
            f"{number}-progressive.jpeg": encoded(image, "JPEG", progressive=True),
            f"{number}-palette.png": encoded(image.convert("P"), "PNG"),
            f"{number}-alpha.png": encoded(image.convert("RGBA"), "PNG"),
            f"{number}-bits.png": encoded(image.convert("1"), "PNG"),
            f"{number}-cut.jpeg": file.read_bytes()[: 2000 + 500 * number],
            f"{number}-bitmap.png": encoded(image, "BMP"),
            f"{number}-gif.jpeg": encoded(image, "GIF"),
        }
        turned = Image.Exif()
        turned[0x0112] = number + 2
        made[f"{number}-exif.jpeg"] = encoded(image, "JPEG", exif=turned)
    made |= {"empty.jpeg": b"", "text.png": b"no image", "header.jpeg": b"\xff\xd8\xff", "noise.png": noise(0)}
    import pydicom

    for file in sorted((Path(pydicom.__file__).parent / "data" / "test_files").glob("*.dcm")):
        if f"dicom-{file.name}" not in CHANGED:
            made[f"dicom-{file.name}"] = file.read_bytes()
    number = 1
    while len(made) < ODD_INPUTS:
        made[f"noise-{number}.png"] = noise(number)
        number += 1
    for name, content in made.items():
        (folder / name).write_bytes(content)
    return folder


def noise(seed):
    rng = np.random.default_rng(seed)
    return encoded(Image.fromarray(rng.integers(0, 256, (200, 180 + seed), dtype=np.uint8)), "PNG")


def predictions(side, shared):
    found = {}
    for bundle in BUNDLES:
        found[f"predict --json, test images, {bundle}"] = side.run(
            "predict", side.data / "test", "--json", "--bundle", bundle
        )
        found[f"predict --json, odd inputs, {bundle}"] = side.run(
            "predict", shared / "odd", "--json", "--bundle", bundle
        )
    found["predict --json, odd inputs one by one"] = b"".join(
        side.run("predict", file, "--json", "--operating-point", "sensitive", "--prevalence", "0.1")
        for file in sorted((shared / "odd").iterdir())[::10]
    )
    for ending in ("jsonl", "csv", "parquet"):
        side.run("predict", side.data / "test" / "NORMAL", shared / "odd", "--out", f"out.{ending}")
        found[f"predict --out {ending}"] = (side.folder / f"out.{ending}").read_bytes()
    some = sorted((side.data / "test" / "PNEUMONIA").glob("*"))[:12]
    side.run("predict", *some, "--evidence", "maps", "--out", "maps.jsonl")
    found["predict --evidence, table"] = (side.folder / "maps.jsonl").read_bytes()
    found["predict --evidence, pictures"] = joined(side.folder / "maps")
    return found


def joined(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return b"".join(f"{path.relative_to(folder)}\n".encode() + path.read_bytes() for path in files)


def http(side, shared):
    command = [side.interpreter, "-m", "pneumoscope", "serve", "--port", "0", "--workers", "1", "--no-request-log"]
    service = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=side.folder, env=side.environment
    )
    try:
        address = service.stdout.readline().decode().strip()
        files = [*sorted((side.data / "test" / "PNEUMONIA").glob("*"))[:40], *sorted((shared / "odd").iterdir())[::4]]
        wait_until_ready(address)
        found = {
            "HTTP predict": b"".join(post(address, f"v1/predict?file={f.name}", f) for f in files),
            "HTTP predict with evidence": b"".join(
                post(address, "v1/predict?evidence=true&prevalence=0.2", f) for f in files
            ),
            "HTTP batch": b"".join(batch(address, files[i : i + 8]) for i in range(0, len(files), 8)),
            "HTTP evidence": b"".join(post(address, "v1/evidence", f, keep_problems=False) for f in files),
            "HTTP evidence alone": b"".join(
                post(address, "v1/evidence?alone=true", f, keep_problems=False) for f in files
            ),
            "HTTP film": b"".join(post(address, "v1/film", f, keep_problems=False) for f in files),
        }
        for path in ("v1/bundle", "v1/performance", "v1/drift"):
            with urllib.request.urlopen(address + path) as answer:
                found[f"HTTP {path}"] = answer.read()
        return found
    finally:
        service.send_signal(signal.SIGTERM)
        service.wait(60)


def wait_until_ready(address):
    for _ in range(200):
        try:
            with urllib.request.urlopen(address + "v1/ready"):
                return
        except OSError:
            time.sleep(0.1)


def post(address, path, file, keep_problems=True):
    request = urllib.request.Request(
        address + path.replace(" ", "%20"), file.read_bytes() or b"\0", {"Content-Type": "application/octet-stream"}
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        # A problem names its request, which is another each time.
        return str(error.code).encode() if not keep_problems else error.read()


def batch(address, files):
    import httpx

    return httpx.post(address + "v1/predict/batch", files=[("files", (f.name, f.read_bytes())) for f in files]).content


def bundles(side, shared):
    found = {}
    for bundle in BUNDLES:
        found[f"bundle show, {bundle}"] = side.run("bundle", "show", bundle, "--json")
        found[f"golden outputs, {bundle}"] = side.run("bundle", "verify", bundle, "--json")
    return found


def training(side, shared):
    run = side.folder / "cnn"
    side.run("train", shared / "cnn.toml", "--data", shared / "phantoms", "--out", run)
    found = run_folder("cnn", run)
    detector = side.folder / "detector"
    side.run("train", shared / "detector.toml", "--data", shared / "phantoms", "--out", detector)
    for path in sorted(detector.rglob("seed-*")):
        if path.is_dir():
            found |= run_folder(f"detector {path.relative_to(detector)}", path)
    found["detector, names of files"] = names(detector)
    found |= bundle_parts("detector", detector / "bundle.zip")
    side.run("bundle", "export", run, "--data", shared / "phantoms", "--out", "cnn.zip")
    return found | bundle_parts("exported cnn", side.folder / "cnn.zip")


def names(folder):
    # TensorBoard's files are named after the moment and the process.
    files = (path for path in folder.rglob("*") if ".tfevents." not in path.name)
    return "\n".join(sorted(str(path.relative_to(folder)) for path in files)).encode()


def run_folder(name, run):
    found = {f"{name}, names of files": names(run)}
    for file in ("config.json", "training_films.txt"):
        found[f"{name}, {file}"] = (run / file).read_bytes()
    for file in sorted(run.glob("*.safetensors")):
        found[f"{name}, {file.name}"] = file.read_bytes()
    lines = [line.split(",") for line in (run / "metrics.csv").read_text().splitlines()]
    kept = [i for i, column in enumerate(lines[0]) if column not in RUN_FIELDS_OF_TIME]
    found[f"{name}, metrics.csv without times"] = "\n".join(",".join(line[i] for i in kept) for line in lines).encode()
    facts = json.loads((run / "provenance.json").read_text())
    found[f"{name}, provenance.json: keys, facts, seed"] = json.dumps(
        [sorted(facts), facts["facts"], facts["seed"], facts["config_hash"]]
    ).encode()
    return found


def bundle_parts(name, file):
    with zipfile.ZipFile(file) as archive:
        found = {f"{name}, {part}": archive.read(part) for part in archive.namelist() if part != "manifest.json"}
        manifest = json.loads(archive.read("manifest.json"))
    made = manifest.pop("training")
    # Keys in their order: the same manifest is the same bytes. What tells of time and commit is left out.
    found[f"{name}, manifest.json but for commit and times"] = json.dumps(
        [manifest, list(made), made["config"]]
    ).encode()
    return found


def resume(side, shared):
    run = side.folder / "resumed"
    shutil.copytree(shared / "broken-off", run)
    side.run("train", shared / "cnn.toml", "--data", shared / "phantoms", "--resume", run)
    return run_folder("resumed run of the earlier code", run)


def break_off(before, shared):
    """A training that the earlier code had begun and did not end."""
    run = shared / "broken-off"
    command = [before.interpreter, "-m", "pneumoscope", "train", str(shared / "cnn.toml")]
    command += ["--data", str(shared / "phantoms"), "--out", str(run)]
    going = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=before.folder, env=before.environment)
    for line in going.stderr:
        if "epoch  1/" in line:
            break
    going.kill()
    going.wait()


def command_line(side, shared):
    code = (
        "import json, typer; from pneumoscope.cli import app\n"
        "def walk(command, name):\n"
        "    yield name, sorted(o for p in command.params for o in [*p.opts, *p.secondary_opts])\n"
        "    for key, inner in getattr(command, 'commands', {}).items(): yield from walk(inner, f'{name} {key}')\n"
        "print(json.dumps(dict(walk(typer.main.get_command(app), 'pneumoscope'))))"
    )
    return {"command line": side.python(code)}


PARTS = {
    "predict": predictions,
    "http": http,
    "bundles": bundles,
    "training": training,
    "resume": resume,
    "cli": command_line,
}


def same(name, before, after):
    """Whether two outputs are equal; of the command line's names, whether none is gone."""
    if name != "command line":
        return before == after
    old, new = json.loads(before), json.loads(after)
    return all(command in new and set(options) <= set(new[command]) for command, options in old.items())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="checkout of the earlier code")
    parser.add_argument(
        "--python-before", type=Path, default=Path(sys.executable), help="with the earlier code's packages"
    )
    parser.add_argument("--only", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument(
        "--keep", type=Path, help="folder for all outputs; one that holds those of the earlier code is used again"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "results/robustness/equivalence.json")
    options = parser.parse_args()
    folder = (options.keep or Path(tempfile.mkdtemp())).absolute()
    data = Path(os.environ["PNEUMOSCOPE_DATA"]).absolute()
    shared = folder / "shared"
    earlier = Side(options.before.absolute(), folder / f"before-{os.getpid()}", data, options.python_before.absolute())
    if not shared.exists():
        shared.mkdir()
        odd_inputs(data, shared / "odd")
        (shared / "cnn.toml").write_text(CNN)
        (shared / "detector.toml").write_text(DETECTOR)
        earlier.run("data", "phantoms", "--out", shared / "phantoms")
        break_off(earlier, shared)
    later = Side(ROOT, folder / f"after-{os.getpid()}", data)
    record = compare(earlier, later, shared, options.only.split(","), folder / "outputs-before")
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=options.before, check=True
    )
    sys.path.insert(0, str(ROOT / "src"))
    from pneumoscope.files import write_json
    from pneumoscope.provenance import provenance

    record = {"before": commit.stdout.strip(), "changed_inputs": CHANGED, "outputs": record}
    record |= provenance("experiments/equivalence.py")
    write_json(options.out, record)
    unequal = [name for name, told in record["outputs"].items() if not told["equal"]]
    print(f"{len(record['outputs'])} outputs compared, {len(unequal)} differ")
    sys.exit(1 if unequal else 0)


def compare(earlier, later, shared, parts, stored):
    """Each output's size, hash and whether both sides gave the same; what the earlier side gave is kept for the next time."""
    record = {}
    for part in parts:
        before = kept(stored / part, lambda part=part: PARTS[part](earlier, shared))
        after = PARTS[part](later, shared)
        for name in {**before, **after}:
            old, new = before.get(name, b""), after.get(name, b"")
            equal = same(name, old, new)
            record[name] = {"equal": equal, "bytes": len(new), "sha256": hashlib.sha256(new).hexdigest()}
            print(f"{'equal ' if equal else 'DIFFER'}  {len(new):>12,}  {name}", flush=True)
            if not equal:
                (shared / "differ").mkdir(exist_ok=True)
                for which, content in (("before", old), ("after", new)):
                    (shared / "differ" / f"{name.replace('/', '_')}.{which}").write_bytes(content)
    return record


def kept(folder, make):
    if not folder.is_dir():
        found = make()
        folder.mkdir(parents=True)
        for number, (name, content) in enumerate(found.items()):
            (folder / f"{number:03d}.name").write_text(name)
            (folder / f"{number:03d}.bin").write_bytes(content)
    return {path.read_text(): path.with_suffix(".bin").read_bytes() for path in sorted(folder.glob("*.name"))}


if __name__ == "__main__":
    main()
