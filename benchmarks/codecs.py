"""Codecs for compressed DICOM frames: which decode what, with which pixels, how fast, how large, how robust; writes JSON.

    .venv/bin/python benchmarks/codecs.py [--rounds 5] [--streams tests/data/codec_streams.json]

Each package is installed alone into a folder of its own (build/codecs) and decodes in a process of its own. Corpus: the
compressed grey frames among pydicom's test files, and a phantom of 5 million pixels in every syntax. Pixels are compared with
pylibjpeg-libjpeg and pylibjpeg-openjpeg, which were in the base install before. Damaged streams are decoded in processes that
may die: each sort of damage to a small stream of each syntax, within the size check that the reader makes first. `--streams`
writes the small streams and what the two decode them to, for tests/data/test_codecs.py.
"""

import argparse
import base64
import hashlib
import io
import json
import os
import select
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

import numpy as np

FOLDER = Path("build/codecs")
# Packages of each candidate; none for what is in the environment anyway: "chosen" is our reader of a frame.
CANDIDATES = {
    "pylibjpeg": ("pylibjpeg-libjpeg==2.5.0", "pylibjpeg-openjpeg==2.6.0"),
    "imagecodecs": ("imagecodecs==2026.3.6",),
    "gdcm": ("python-gdcm==3.2.6",),
    "dicomsdl": ("dicomsdl==0.109.4",),
    "pyjpegls": ("pyjpegls==1.5.1",),
    "pylibjpeg-rle": ("pylibjpeg-rle==2.2.0",),
    "pydicom": (),
    "pillow": (),
    "chosen": (),
}
SYNTAXES = {
    "baseline": "1.2.840.10008.1.2.4.50",
    "extended": "1.2.840.10008.1.2.4.51",
    "lossless": "1.2.840.10008.1.2.4.57",
    "lossless-sv1": "1.2.840.10008.1.2.4.70",
    "jpeg-ls": "1.2.840.10008.1.2.4.80",
    "jpeg-ls-near": "1.2.840.10008.1.2.4.81",
    "jpeg2000-lossless": "1.2.840.10008.1.2.4.90",
    "jpeg2000": "1.2.840.10008.1.2.4.91",
    "htj2k-lossless": "1.2.840.10008.1.2.4.201",
    "rle": "1.2.840.10008.1.2.5",
}
NAMES = {uid: name for name, uid in SYNTAXES.items()}
LIMIT_S = 2


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--damages", type=int, default=200, help="of each kind of damage to each stream")
    parser.add_argument("--streams", type=Path)
    parser.add_argument("--out", type=Path, default=Path("results/speed/codecs.json"))
    parser.add_argument("--inner", choices=CANDIDATES, help=argparse.SUPPRESS)
    parser.add_argument("--corpus", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inner:
        measure(options)
    else:
        compare(options)


def compare(options):
    from pneumoscope.files import write_json
    from pneumoscope.provenance import provenance

    for name, packages in CANDIDATES.items():
        install(name, packages)
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus.json"
        sys.path.insert(0, str(FOLDER / "imagecodecs"))
        corpus.write_text(json.dumps(library_frames() + small_frames() + large_frames()))
        found = {name: run(name, corpus, options) for name in CANDIDATES}
        frames = json.loads(corpus.read_text())
    before = {**found["pydicom"]["frames"], **found["pylibjpeg"]["frames"]}
    before |= {name: frame for name, frame in found["pydicom"]["frames"].items() if "error" not in frame}
    reference = {name: frame for name, frame in before.items() if "error" not in frame}
    if options.streams:
        write_json(options.streams, stored_streams(frames, reference, found["chosen"]["frames"]))
    measured = {name: summary(name, found[name], reference, frames) for name in CANDIDATES}
    print(json.dumps(measured, indent=1))
    write_json(options.out, {"measured": measured, "frames": len(frames)} | provenance("benchmarks/codecs.py"))


def install(name, packages):
    target = FOLDER / name
    if packages and not target.is_dir():
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target), *packages]
        subprocess.run(command, check=True)


def run(name, corpus, options):
    """What a candidate says of itself, from a process with only its own folder beside the environment."""
    command = [sys.executable, __file__, "--inner", name, "--corpus", str(corpus), "--rounds", str(options.rounds)]
    command += ["--damages", str(options.damages)]
    paths = [str(FOLDER / name)] if CANDIDATES[name] else []
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*paths, "src"])}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return json.loads(done.stdout.splitlines()[-1])


# Corpus


def frame_of(name, syntax, stream, rows, columns, allocated, stored, signed=0, source="phantom"):
    facts = {"name": name, "syntax": syntax, "rows": rows, "columns": columns, "allocated": allocated, "stored": stored}
    return facts | {"signed": signed, "source": source, "stream": base64.b64encode(stream).decode()}


def library_frames():
    """Compressed grey frames among pydicom's test files."""
    import pydicom
    from pydicom.encaps import generate_frames

    found = []
    for file in sorted((Path(pydicom.__file__).parent / "data" / "test_files").rglob("*.dcm")):
        dataset = pydicom.dcmread(file, force=True)
        syntax = str(getattr(dataset, "file_meta", {}).get("TransferSyntaxUID", ""))
        if syntax not in NAMES or "PixelData" not in dataset or dataset.SamplesPerPixel != 1:
            continue
        if int(dataset.get("NumberOfFrames") or 1) != 1 or dataset.BitsAllocated > 16:
            continue
        stream = next(generate_frames(dataset.PixelData, number_of_frames=1))
        facts = (dataset.Rows, dataset.Columns, dataset.BitsAllocated, dataset.BitsStored, dataset.PixelRepresentation)
        found.append(frame_of(file.name, NAMES[syntax], stream, *facts, source="pydicom"))
    return found


def phantom(rows, columns, bits):
    """Smooth rises and falls with the noise of a radiograph."""
    y, x = np.mgrid[:rows, :columns]
    smooth = 0.5 + 0.35 * np.sin(4 * np.pi * x / columns) * np.cos(2 * np.pi * y / rows)
    noisy = smooth + np.random.default_rng(0).normal(0, 0.01, (rows, columns))
    return (noisy.clip(0, 1) * (2**bits - 1)).astype(np.uint8 if bits <= 8 else np.uint16)


def small_frames():
    return [frame for bits in (8, 10, 12, 16) for frame in encoded(phantom(29, 23, bits), bits, "small")]


def large_frames():
    return [frame for bits in (8, 12, 16) for frame in encoded(phantom(2500, 2048, bits), bits, "large")]


def encoded(pixels, bits, size):
    """One image in every syntax that takes so many bits."""
    import imagecodecs

    jpeg2000 = {"bitspersample": bits, "codecformat": "j2k"}
    streams = {
        "jpeg-ls": imagecodecs.jpegls_encode(pixels),
        "jpeg-ls-near": imagecodecs.jpegls_encode(pixels, 3),
        "jpeg2000-lossless": imagecodecs.jpeg2k_encode(pixels, reversible=True, **jpeg2000),
        "jpeg2000": imagecodecs.jpeg2k_encode(pixels, level=60, reversible=False, **jpeg2000),
        "htj2k-lossless": imagecodecs.htj2k_encode(pixels, reversible=True),
        "rle": rle(pixels),
    }
    if bits == 8:
        streams["baseline"] = imagecodecs.jpeg8_encode(pixels, 90)
    if bits == 12:
        streams["extended"] = imagecodecs.jpeg8_encode(pixels, 90, bitspersample=12)
    predictors = range(1, 8) if size == "small" else (1, 4)
    for predictor in predictors:
        name = "lossless-sv1" if predictor == 1 else "lossless"
        stream = imagecodecs.jpeg8_encode(pixels, lossless=True, predictor=predictor, bitspersample=bits)
        streams[f"{name}/{predictor}"] = stream
    allocated = 8 * pixels.dtype.itemsize
    return [
        frame_of(f"{size}-{name}-{bits}", name.split("/")[0], bytes(stream), *pixels.shape, allocated, bits)
        for name, stream in streams.items()
    ]


def rle(pixels):
    import imagecodecs

    planes = pixels.astype(pixels.dtype.newbyteorder(">")).view(np.uint8).reshape(*pixels.shape, -1)
    segments = [bytes(imagecodecs.packbits_encode(planes[:, :, byte].tobytes())) for byte in range(planes.shape[2])]
    segments = [segment + b"\0" * (len(segment) % 2) for segment in segments]
    starts = np.cumsum([64, *map(len, segments)]).tolist()[:-1]
    return struct.pack("<16L", *([len(segments), *starts] + [0] * 15)[:16]) + b"".join(segments)


# One candidate


def decoder(name):
    """Function from a stream and its facts to its samples, (rows, columns); it raises where it cannot decode them."""
    return globals()[f"decode_with_{name.replace('-', '_')}"]()


def decode_with_pylibjpeg():
    import libjpeg
    import openjpeg

    def decode(stream, facts):
        if facts["syntax"] == "rle":
            raise NotImplementedError
        return openjpeg.decode(stream) if is_jpeg2000(facts) else libjpeg.decode(stream)

    return decode


def decode_with_imagecodecs():
    import imagecodecs

    def decode(stream, facts):
        if facts["syntax"] == "rle":
            kind = f"<u{facts['allocated'] // 8}"
            return np.frombuffer(imagecodecs.dicomrle_decode(stream, kind), kind)
        if is_jpeg2000(facts):
            return imagecodecs.jpeg2k_decode(stream)
        return imagecodecs.jpegls_decode(stream) if is_jpeg_ls(facts) else imagecodecs.jpeg8_decode(stream)

    return decode


def decode_with_gdcm():
    import gdcm

    def decode(stream, facts):
        fragment = gdcm.Fragment()
        fragment.SetByteStringValue(stream)
        sequence = gdcm.SequenceOfFragments.New()
        sequence.AddFragment(fragment)
        element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x10))
        element.SetValue(sequence.__ref__())
        image = gdcm.Image()
        image.SetNumberOfDimensions(2)
        image.SetDimensions((facts["columns"], facts["rows"], 1))
        image.SetDataElement(element)
        kind = gdcm.PhotometricInterpretation.GetPIType("MONOCHROME2")
        image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
        image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(SYNTAXES[facts["syntax"]])))
        stored = facts["stored"]
        image.SetPixelFormat(gdcm.PixelFormat(1, facts["allocated"], stored, stored - 1, facts["signed"]))
        return np.frombuffer(image.GetBuffer().encode("utf-8", "surrogateescape"), f"<u{facts['allocated'] // 8}")

    return decode


def decode_with_dicomsdl():
    import dicomsdl

    def decode(stream, facts):
        image = dicomsdl.open_memory(wrapped(stream, facts))
        samples = np.zeros((facts["rows"], facts["columns"]), image.getPixelDataInfo()["dtype"])
        image.copyFrameData(0, samples)
        return samples

    return decode


def decode_with_pyjpegls():
    import jpeg_ls

    def decode(stream, facts):
        if not is_jpeg_ls(facts):
            raise NotImplementedError
        return jpeg_ls.decode(np.frombuffer(stream, np.uint8))

    return decode


def decode_with_pylibjpeg_rle():
    from rle.utils import decode_frame

    def decode(stream, facts):
        if facts["syntax"] != "rle":
            raise NotImplementedError
        return np.frombuffer(
            bytes(decode_frame(stream, facts["rows"] * facts["columns"], facts["allocated"], "<")),
            f"<u{facts['allocated'] // 8}",
        )

    return decode


def decode_with_pydicom():
    from pydicom.pixels.decoders.rle import _rle_decode_frame

    def decode(stream, facts):
        if facts["syntax"] != "rle":
            raise NotImplementedError
        samples = _rle_decode_frame(stream, facts["rows"], facts["columns"], 1, facts["allocated"])
        return np.frombuffer(samples, f"<u{facts['allocated'] // 8}")

    return decode


def decode_with_pillow():
    from PIL import Image

    def decode(stream, facts):
        if is_jpeg_ls(facts) or facts["syntax"] == "rle":
            raise NotImplementedError
        samples = np.asarray(Image.open(io.BytesIO(stream), formats=("JPEG", "JPEG2000")))
        # Pillow spreads the values of a JPEG 2000 stream over 16 bits.
        return samples >> (16 - facts["stored"]) if samples.itemsize == 2 else samples

    return decode


def decode_with_chosen():
    from pydicom.uid import UID

    from pneumoscope.data.codecs import decode_frame

    def decode(stream, facts):
        shape = (facts["rows"], facts["columns"])
        return decode_frame(stream, UID(SYNTAXES[facts["syntax"]]), shape, facts["allocated"]).samples

    return decode


def is_jpeg2000(facts):
    return "2000" in facts["syntax"] or "j2k" in facts["syntax"]


def is_jpeg_ls(facts):
    return facts["syntax"].startswith("jpeg-ls")


def wrapped(stream, facts):
    """DICOM file of one frame, for a library that reads nothing else."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = SYNTAXES[facts["syntax"]]
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = facts["rows"], facts["columns"], 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = (
        facts["allocated"],
        facts["stored"],
        facts["stored"] - 1,
    )
    dataset.PixelRepresentation = facts["signed"]
    dataset.PixelData = encapsulate([stream])
    dataset["PixelData"].VR = "OB"
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def measure(options):
    """Print, as one line of JSON, what one candidate decodes, how fast, and how it bears damaged streams."""
    began = time.perf_counter()
    decode = decoder(options.inner)
    imported = time.perf_counter() - began
    frames = json.loads(options.corpus.read_text())
    found = {}
    for facts in frames:
        stream = base64.b64decode(facts["stream"])
        rounds = options.rounds if facts["rows"] > 2000 else 1
        try:
            seconds = []
            for _ in range(rounds):
                began = time.perf_counter()
                samples = np.asarray(decode(stream, facts))
                seconds.append(time.perf_counter() - began)
            samples = samples.reshape(facts["rows"], facts["columns"]).astype(np.int32) & (2 ** facts["allocated"] - 1)
        except Exception as error:
            found[facts["name"]] = {"error": f"{type(error).__name__}: {error}"}
            continue
        # Only lossy decoders may differ, and only their samples are needed to tell by how much.
        kept = facts["syntax"] in ("baseline", "extended")
        found[facts["name"]] = {
            "sha256": hashlib.sha256(samples.astype("<u2").tobytes()).hexdigest(),
            "milliseconds": 1000 * statistics.median(seconds),
            "samples": base64.b64encode(samples.astype("<u2").tobytes()).decode() if kept else None,
        }
    small = [
        facts
        for facts in frames
        if facts["name"].startswith("small") and "error" not in found.get(facts["name"], {"error": 1})
    ]
    damaged = endure(decode, small, options.damages)
    print(json.dumps({"import_ms": 1000 * imported, "frames": found, "damaged": damaged}))


# Damaged streams


def endure(decode, frames, damages):
    """Number of damaged streams decoded, refused, or the end of the process that decodes them; by syntax where that."""
    count = {"decoded": 0, "refused": 0, "crashed": 0, "hung": 0, "ended_by_syntax": {}}
    for facts in frames:
        variants = [variant for kind in range(4) for variant in damaged_streams(facts, kind, damages)]
        while variants:
            outcomes, ended = decode_apart(decode, variants, facts)
            count["decoded"] += outcomes.count(b"d")
            count["refused"] += outcomes.count(b"r")
            variants = variants[len(outcomes) + 1 :]
            if ended:
                count[ended] += 1
                by_syntax = count["ended_by_syntax"]
                by_syntax[facts["syntax"]] = by_syntax.get(facts["syntax"], 0) + 1
                # A decoder that hangs at every other stream would take hours.
                variants = variants[:: 4 if ended == "hung" else 1]
    return count


def damaged_streams(facts, kind, damages):
    """Streams with other bytes in the header or anywhere, cut short, or with bytes put in between."""
    stream = base64.b64decode(facts["stream"])
    rng = np.random.default_rng([kind, len(stream)])
    for _ in range(damages):
        damaged = bytearray(stream)
        if kind < 2:
            for place in rng.integers(0, len(stream) if kind else min(len(stream), 150), rng.integers(1, 8)):
                damaged[place] = rng.integers(0, 256)
        elif kind == 2:
            del damaged[rng.integers(4, len(stream)) :]
        else:
            place = rng.integers(0, len(stream))
            damaged[place:place] = rng.integers(0, 256, rng.integers(1, 64), dtype=np.uint8).tobytes()
        # The reader refuses a stream of another size before it is decoded, whatever the decoder.
        if size(bytes(damaged), facts) == (facts["rows"], facts["columns"]):
            yield bytes(damaged)


def size(stream, facts):
    from pneumoscope.data.jpeg import frame_header
    from pneumoscope.data.jpeg2000 import codestream, image_header

    try:
        if facts["syntax"] == "rle":
            return facts["rows"], facts["columns"]
        header = image_header(codestream(stream)) if is_jpeg2000(facts) else frame_header(stream)
        return header.rows, header.columns
    except (ValueError, struct.error):
        return None


def decode_apart(decode, streams, facts):
    """Outcome of each stream, a letter each, until the process that decodes them ends or a stream takes too long."""
    ours, theirs = os.pipe()
    if (child := os.fork()) == 0:
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        for stream in streams:
            try:
                decode(stream, facts)
                os.write(theirs, b"d")
            except Exception:
                os.write(theirs, b"r")
        os._exit(0)
    os.close(theirs)
    outcomes, ended = b"", None
    while True:
        if not select.select([ours], [], [], LIMIT_S)[0]:
            os.kill(child, 9)
            ended = "hung"
            break
        if not (part := os.read(ours, 65_536)):
            break
        outcomes += part
    os.close(ours)
    status = os.waitpid(child, 0)[1]
    return outcomes, ended or ("crashed" if status else None)


# Results


def summary(name, found, reference, frames):
    folder = FOLDER / name
    decoded = {key: frame for key, frame in found["frames"].items() if "error" not in frame}
    by_source = {
        source: sum(f["name"] in decoded for f in frames if source == f["source"]) for source in ("pydicom", "phantom")
    }
    differing = {}
    for key, frame in decoded.items():
        other = reference.get(key, {})
        if "sha256" in other and other["sha256"] != frame["sha256"]:
            differing[key] = difference(frame, other)
    speed = {key: frame["milliseconds"] for key, frame in decoded.items() if key.startswith("large")}
    files = [file for file in folder.rglob("*") if file.is_file() and not file.is_symlink()] if folder.is_dir() else []
    return {
        "packages": {package: licence(package, folder) for package in CANDIDATES[name]},
        "installed_mb": sum(file.stat().st_size for file in files) / 1e6,
        "import_ms": found["import_ms"],
        "decoded": by_source,
        "of": {source: sum(f["source"] == source for f in frames) for source in ("pydicom", "phantom")},
        "differing": differing,
        "milliseconds": speed,
        "damaged": found["damaged"],
    }


def difference(frame, other):
    """Largest difference of samples and share of samples that differ; None where they were not kept."""
    if not frame["samples"] or not other["samples"]:
        return None
    one, two = (np.frombuffer(base64.b64decode(f["samples"]), "<u2").astype(int) for f in (frame, other))
    return {"largest": int(np.abs(one - two).max()), "share": float((one != two).mean())}


def licence(package, folder):
    name = package.split("==")[0]
    for found in metadata.distributions(path=[str(folder)]):
        if found.metadata["Name"].lower() == name:
            told = found.metadata.get("License-Expression") or found.metadata.get("License")
            classified = [line for line in found.metadata.get_all("Classifier", []) if line.startswith("License")]
            return told or ", ".join(line.split(" :: ")[-1] for line in classified)
    return None


def stored_streams(frames, reference, chosen):
    """Small streams, and hashes of the samples that the reference and our reader decode them to."""
    stored = []
    for facts in frames:
        name = facts["name"]
        if not name.startswith("small") or name not in reference:
            continue
        ours, theirs = chosen[name], reference[name]
        facts = facts | {"syntax": SYNTAXES[facts["syntax"]], "sha256": ours["sha256"]}
        if ours["sha256"] != theirs["sha256"]:
            facts["reference"] = theirs["samples"]
        stored.append({key: value for key, value in facts.items() if key not in ("source", "signed")})
    return stored


if __name__ == "__main__":
    main()
