#!/usr/bin/env python3
"""Audits of labelled data sets of other hospitals and of the study's own, for the documentation.

experiments/audits.py NAME=PATH ... [--out FILE]
"""

import argparse
import time
from collections import Counter
from pathlib import Path

from pneumoscope.data.any_classes import open_any_classes
from pneumoscope.data.audit import audit
from pneumoscope.data.index import build_index
from pneumoscope.files import write_json
from pneumoscope.provenance import provenance


def audited(path):
    """Figures of an audit, without paths of images."""
    start = time.perf_counter()
    index = build_index(open_any_classes(path), acquisition=True)
    read = time.perf_counter()
    result = audit(index)
    done = time.perf_counter()
    record = result.to_dict()
    counts = Counter((row.split.value, row.coarse_label) for row in index.rows)
    return {
        "images": len(index.rows),
        "patients": len({row.patient for row in index.rows}),
        "counts": [[*key, count] for key, count in sorted(counts.items())],
        "findings": [{name: value for name, value in each.items() if name != "films"} for each in record["findings"]],
        "cues": [each for each in record["file_cues"] if each["auc"]["value"] == each["auc"]["value"]],
        "acquisition_clusters": record["acquisition_clusters"],
        "verdict": record["verdict"],
        "seconds": {"index": read - start, "audit": done - read},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="NAME=PATH")
    parser.add_argument("--out", type=Path, default=Path("results/robustness/audits.json"))
    given = parser.parse_args()
    named = [each.partition("=") for each in given.sets]
    write_json(given.out, {"sets": {n: audited(Path(p)) for n, _, p in named}} | provenance("experiments/audits.py"))


if __name__ == "__main__":
    main()
