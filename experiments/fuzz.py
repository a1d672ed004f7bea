"""Mutated images, DICOM objects, bundles and tables: only answers and our own errors may come back; writes JSON.

    .venv/bin/python experiments/fuzz.py [--inputs 20000] [--keep FOLDER] [--seed 0]

A child process takes them one by one and says before each which it is, so that one that ends it (a crash), takes more than
5 s (a hang) or makes it larger than 1 GB is known; the input is kept, and the child started anew behind it. The seeds are images
cut out of a figure of the documentation, in every encoding that is read, and pydicom's test objects.
"""

import argparse
import csv
import io
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
SECONDS, MEGABYTES = 5.0, 1024
SHARES = {"jpeg": 6, "png": 4, "dicom": 6, "bundle": 2, "table": 2}


def images():
    with Image.open(ROOT / "docs/figures/chest-frames.png") as figure:
        return [figure.convert("L").crop((5 + 220 * i, 268, 215 + 220 * i, 478)) for i in range(6)]


def encoded(image, kind, **settings):
    with io.BytesIO() as buffer:
        image.save(buffer, kind, **settings)
        return buffer.getvalue()


def seeds():
    """Kind to whole inputs."""
    pictures = images()
    turned = Image.Exif()
    turned[0x0112] = 6
    jpeg = [
        encoded(picture.convert(mode), "JPEG", **settings)
        for picture, mode, settings in zip(
            pictures,
            ("L", "L", "RGB", "CMYK", "RGB", "L"),
            ({}, {"progressive": True}, {}, {}, {"subsampling": 0}, {"exif": turned}),
            strict=True,
        )
    ]
    deep = [Image.fromarray(np.asarray(picture).astype(np.uint16) * 257) for picture in pictures[:2]]
    png = [
        encoded(picture.convert(mode), "PNG")
        for picture, mode in zip(pictures, ("L", "RGB", "P", "RGBA", "1", "LA"), strict=True)
    ]
    png += [encoded(picture, "PNG") for picture in deep]
    return {
        "jpeg": jpeg,
        "png": png,
        "dicom": dicoms(pictures),
        "bundle": [(ROOT / "src/pneumoscope/bundles/nano.zip").read_bytes()],
        "table": tables(),
    }


def dicoms(pictures):
    import pydicom
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    found = [file.read_bytes() for file in sorted(folder.glob("*.dcm")) if file.stat().st_size < 500_000]
    for place, picture in enumerate(pictures[:3]):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (
            "1.2.840.10008.5.1.4.1.1.1.1",
            generate_uid(entropy_srcs=["x"]),
        )
        levels = np.asarray(picture).astype(np.uint16) * 16
        image = FileDataset("x", Dataset(), file_meta=meta, preamble=bytes(128))
        image.Rows, image.Columns = levels.shape
        image.SamplesPerPixel, image.PixelRepresentation = 1, 0
        image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
        image.PhotometricInterpretation = ("MONOCHROME2", "MONOCHROME1", "MONOCHROME2")[place]
        image.WindowCenter, image.WindowWidth = 2000, 3800
        image.RescaleSlope, image.RescaleIntercept = 1, -1024 * (place == 2)
        image.PixelData = levels.tobytes()
        with io.BytesIO() as buffer:
            pydicom.dcmwrite(buffer, image)
            found.append(buffer.getvalue())
    return found


def tables():
    with io.StringIO() as text:
        writer = csv.writer(text)
        writer.writerows([["path", "class"], ["a.png", "NORMAL"], ["b, c.png", "PNEUMONIA"], ["", "NORMAL"]])
        return [text.getvalue().encode(), b"file\tid\r\na.png\t1\r\n", '\ufefffilename\n"höhe.png"\n'.encode()]


def mutated(content, rng, others):
    """One to eight changes: flipped and set bytes, lengths, cuts, repeats, pieces of other inputs."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5, 8))):
        if not data:
            break
        place = rng.randrange(min(len(data), rng.choice((64, 600, len(data)))))
        change = rng.randrange(8)
        if change == 0:
            data[place] ^= 1 << rng.randrange(8)
        elif change == 1:
            data[place] = rng.choice((0, 1, 127, 128, 254, 255))
        elif change == 2:
            wide = rng.choice((2, 4))
            data[place : place + wide] = rng.choice((b"\xff" * wide, b"\x00" * wide, b"\x7f" + b"\xff" * (wide - 1)))
        elif change == 3:
            del data[place:]
        elif change == 4:
            del data[place : place + rng.randrange(1, 200)]
        elif change == 5:
            piece = data[place : place + rng.randrange(1, 200)]
            data[place:place] = piece * rng.choice((1, 2, 50))
        elif change == 6:
            other = rng.choice(others)
            start = rng.randrange(len(other))
            data[place:place] = other[start : start + rng.randrange(1, 400)]
        else:
            data[place : place + 8] = rng.randbytes(8)
    return bytes(data)


def plan(count):
    """Kind of each input."""
    kinds = [kind for kind, share in SHARES.items() for _ in range(share)]
    return [kinds[i % len(kinds)] for i in range(count)]


def made(kind, number, seed, whole):
    rng = random.Random(f"{seed} {number}")
    if kind == "bundle" and rng.random() < 0.6:
        return bundle_with_odd_manifest(rng, whole["bundle"][0])
    content = mutated(rng.choice(whole[kind]), rng, whole[kind])
    return with_right_sums(content) if kind == "png" and rng.random() < 0.7 else content


def with_right_sums(content):
    """A PNG whose pieces have the check sums of what they hold, so that the decoder looks at that."""
    data, place = bytearray(content), 8
    while place + 12 <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        end = place + 8 + length
        if end + 4 > len(data):
            break
        data[end : end + 4] = zlib.crc32(data[place + 4 : end]).to_bytes(4, "big")
        place = end + 4
    return bytes(data)


def bundle_with_odd_manifest(rng, bundle):
    """The manifest alone changes, so that the hashes of the parts still hold."""
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    told = json.loads(parts["manifest.json"])
    odd = (None, 0, -1, 1e308, "", "x", [], {}, True, [1, 2], {"a": 1}, float("nan"))
    holder = told
    while isinstance(holder, dict) and holder:
        key = rng.choice(sorted(holder))
        if isinstance(holder[key], dict) and holder[key] and rng.random() < 0.6:
            holder = holder[key]
            continue
        if rng.random() < 0.3:
            del holder[key]
        else:
            holder[key] = rng.choice(odd)
        break
    parts["manifest.json"] = json.dumps(told).encode()
    with io.BytesIO() as buffer:
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, content in parts.items():
                archive.writestr(name, content)
        return buffer.getvalue()


def child(start, count, seed, folder):
    """Takes inputs one by one; a line before each, a line after each."""
    from pneumoscope.data.sources import open_source
    from pneumoscope.errors import PneumoscopeError
    from pneumoscope.inference.detector import load_detector
    from pneumoscope.inference.inputs import open_inputs

    # What libraries print is none of the answers; it is counted, since it would spoil what a command prints.
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    printed = os.open(Path(folder) / "printed", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.dup2(printed, 1)
    detector, whole = load_detector("nano", 1), seeds()
    kinds = plan(count)
    scratch = Path(folder) / "scratch"
    scratch.mkdir(exist_ok=True)
    for number in range(start, count):
        kind = kinds[number]
        content = made(kind, number, seed, whole)
        channel.write(f"begin {number}\n")
        began = time.perf_counter()
        try:
            if kind == "bundle":
                (scratch / "b.zip").write_bytes(content)
                list(load_detector(scratch / "b.zip", 1).predict_many(whole["jpeg"][:2]))
                answer = "answered"
            elif kind == "table":
                table = scratch / ("t.tsv" if b"\t" in content[:20] else "t.csv")
                table.write_bytes(content)
                list(open_inputs([str(table)]).walk())
                open_source(table)
                answer = "answered"
            else:
                prediction = detector.predict(content, evidence=True)
                answer = prediction.reasons[0].value if prediction.decision == "rejected" else "answered"
        except PneumoscopeError as error:
            answer = (
                type(error).__name__
                if str(error).startswith("expected") and "\n" not in str(error)
                else f"message {error!r}"
            )
        except Exception as error:  # what is looked for
            answer = f"traceback {error!r}"
        seconds = time.perf_counter() - began
        megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        if os.lseek(printed, 0, os.SEEK_END) > 0:
            answer = f"printed {os.pread(printed, 200, 0)!r}, {answer}"
            os.ftruncate(printed, 0)
            os.lseek(printed, 0, os.SEEK_SET)
        told = {"number": number, "answer": answer[:300], "seconds": seconds, "megabytes": megabytes}
        channel.write(json.dumps(told) + "\n")
        if megabytes > MEGABYTES:
            return


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"))
    parser.add_argument("--out", type=Path, default=Path("results/robustness/fuzz.json"))
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        child(options.child, options.inputs, options.seed, options.folder)
        return
    from pneumoscope.files import write_json
    from pneumoscope.provenance import provenance

    kinds = plan(options.inputs)
    answers, failures, slowest, largest, start = Counter(), [], 0.0, 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        while start < options.inputs:
            command = [sys.executable, __file__, "--child", str(start), "--inputs", str(options.inputs)]
            command += ["--seed", str(options.seed), "--folder", folder]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            begun = start
            for line in process.stdout:
                if line.startswith("begin"):
                    begun = int(line.split()[1])
                    continue
                told = json.loads(line)
                slowest, largest = max(slowest, told["seconds"]), max(largest, told["megabytes"])
                start = told["number"] + 1
                answers[f"{kinds[told['number']]}: {told['answer'].split(' ')[0]}"] += 1
                bad = told["answer"].startswith(("traceback", "message", "printed"))
                if bad or told["seconds"] > SECONDS or told["megabytes"] > MEGABYTES:
                    failures.append(told | {"kind": kinds[told["number"]]})
                    print(failures[-1], flush=True)
                if start % 2000 == 0:
                    print(start, f"slowest {slowest:.2f} s, {largest:.0f} MB", flush=True)
            if process.wait() != 0 and start <= begun:
                failures.append(
                    {"number": begun, "kind": kinds[begun], "answer": f"ended the process: {process.returncode}"}
                )
                print(failures[-1], flush=True)
                start = begun + 1
    whole = seeds()
    for failure in failures:
        options.keep.mkdir(parents=True, exist_ok=True)
        (options.keep / f"{failure['kind']}-{failure['number']}").write_bytes(
            made(failure["kind"], failure["number"], options.seed, whole)
        )
    told = {"inputs": options.inputs, "failures": failures, "slowest_seconds": slowest, "largest_megabytes": largest}
    made_by = provenance("experiments/fuzz.py")
    write_json(options.out, told | {"answers": dict(sorted(answers.items()))} | made_by)
    print(json.dumps(told | {"answers": dict(answers)}, indent=1))


if __name__ == "__main__":
    main()
