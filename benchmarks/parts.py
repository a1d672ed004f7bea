"""What an image costs one core, part by part: reading, decoding, finding the chest, network, writing; writes JSON.

.venv/bin/python benchmarks/parts.py [--originals DIR]
"""

import argparse
import io
import statistics
import time
from pathlib import Path

from pyarrow import parquet

from pneumoscope.data.locate import locate
from pneumoscope.data.preprocessing import prepare_with_frame
from pneumoscope.data.reading import read_bytes, read_grey
from pneumoscope.files import write_json
from pneumoscope.inference.detector import load_detector
from pneumoscope.inference.journal import as_table
from pneumoscope.provenance import provenance


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--originals", type=Path, help="folder of films of their own size")
    parser.add_argument("--out", type=Path, default=Path("results/speed/parts.json"))
    options = parser.parse_args()
    sorts = {"224 pixels": sorted((locate(None).root / "train").rglob("*.jpeg"))[:: 5000 // options.images]}
    if options.originals:
        sorts["originals"] = sorted(options.originals.rglob("*.jpeg"))
    measured = {sort: parts(images[: options.images], options.rounds) for sort, images in sorts.items()}
    print(measured)
    write_json(options.out, {"measured": measured} | provenance("benchmarks/parts.py"))


def parts(images, rounds):
    """Milliseconds an image, the median over the rounds, and the bytes of its results."""
    detector = load_detector(threads=1)
    records = [told.to_dict() for told in detector.predict_many(images)]
    found = {}

    def timed_part(name, work):
        began = time.perf_counter()
        result = work()
        found.setdefault(name, []).append(1000 * (time.perf_counter() - began) / len(images))
        return result

    def written():
        buffer = io.BytesIO()
        parquet.write_table(as_table(records), buffer, compression="zstd")
        return buffer.getvalue()

    for _ in range(rounds):
        held = timed_part("read", lambda: [read_bytes(Path(image)) for image in images])
        images = timed_part("decode", lambda: [read_grey(Path("film"), content) for content in held])
        settings = detector.bundle.manifest.preprocessing
        timed_part("find the chest", lambda: [prepare_with_frame(image, settings) for image in images])
        timed_part("everything", lambda: list(detector.predict_many(images)))
        content = timed_part("write", written)
    whole = found["everything"]
    told = [found[name] for name in ("read", "decode", "find the chest")]
    found["network and guard"] = [all_ - sum(each) for all_, *each in zip(whole, *told, strict=True)]
    found["everything"] = [all_ + wrote for all_, wrote in zip(whole, found["write"], strict=True)]
    told = {name: {"median": statistics.median(values), "values": values} for name, values in found.items()}
    return {"milliseconds": told, "result_bytes": len(content) / len(images), "films": len(images)}


if __name__ == "__main__":
    main()
