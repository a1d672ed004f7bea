"""Index and cache of a whole data set, cold and warm; writes JSON.

.venv/bin/python benchmarks/data_pipeline.py [--rounds 3]
"""

import argparse
import resource
import statistics
import tempfile
import time
from pathlib import Path

from pneumoscope.config import Preprocessing, SplitConfig
from pneumoscope.data.audit import audit
from pneumoscope.data.cache import cached_images
from pneumoscope.data.index import build_index
from pneumoscope.data.locate import locate
from pneumoscope.data.sources import open_source
from pneumoscope.data.split import draw_validation
from pneumoscope.files import write_json
from pneumoscope.provenance import provenance


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("results/speed/data_pipeline.json"))
    options = parser.parse_args()
    root = locate(None).root
    seconds = {"index": [], "cache": [], "cache again": [], "audit": [], "split": []}
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            source = open_source(root)

            def timed(name, work):
                began = time.perf_counter()
                result = work()
                seconds[name].append(time.perf_counter() - began)
                return result

            index = timed("index", lambda: build_index(source))
            timed("cache", lambda: cached_images(source, index, Preprocessing(), Path(folder)))
            timed("cache again", lambda: cached_images(source, index, Preprocessing(), Path(folder)))
            timed("audit", lambda: audit(index))
            timed("split", lambda: draw_validation(index, SplitConfig().seed))
    record = {
        "films": len(index.rows),
        "seconds": {name: {"median": statistics.median(values), "values": values} for name, values in seconds.items()},
        "index_and_cache_seconds": statistics.median(map(sum, zip(seconds["index"], seconds["cache"], strict=True))),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    made = provenance("benchmarks/data_pipeline.py")
    write_json(options.out, record | made)
    print(options.out)


if __name__ == "__main__":
    main()
