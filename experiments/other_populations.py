#!/usr/bin/env python3
"""What a detector decides on images of other populations and subjects, and on images of its own population.

    experiments/other_populations.py NAME=PATH ... [--bundle default --bundle nano] [--out FILE]

PATH is a folder (searched to the bottom) or a table with the columns path and, for figures apart, view. Fractions have Wilson's 95 %
intervals over images. `--own-test` counts the official test images too, without a look at their labels.
"""

import argparse
import csv
from collections import Counter
from pathlib import Path

from pneumoscope.assessment.ledger import USUAL_LEDGER, append_to_ledger
from pneumoscope.bundle import SHIPPED, find_bundle
from pneumoscope.data.locate import locate
from pneumoscope.data.sources import open_source
from pneumoscope.evaluation.intervals import wilson_interval
from pneumoscope.files import write_json
from pneumoscope.inference.batch import predict_files
from pneumoscope.inference.pool import WorkerPool
from pneumoscope.provenance import commit, provenance
from pneumoscope.types import IMAGE_SUFFIXES, Decision, Split


def files_of(path):
    """Files of a folder or table, by subset: all of them, and those of each view where a table tells it."""
    if path.suffix != ".csv":
        return {"": sorted(str(file) for file in path.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)}
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    found = {"": [str(path.parent / row["path"]) for row in rows]}
    for view in sorted({row["view"] for row in rows if row.get("view")}):
        found[f", {view}"] = [str(path.parent / row["path"]) for row in rows if row["view"] == view]
    return found


def test_images():
    source = open_source(locate(None).root)
    return [str(source.file_of(image.path)) for image in source.images if image.split is Split.TEST]


def counted(predictions):
    answered = sum(p.decision in (Decision.NORMAL, Decision.PNEUMONIA) for p in predictions)
    reasons = Counter(reason.value for p in predictions for reason in p.reasons)
    called = {
        "answered": answered,
        "called_pneumonia": sum(p.decision is Decision.PNEUMONIA for p in predictions),
        "rejected": sum(p.decision is Decision.REJECTED for p in predictions),
        **{reason: reasons[reason] for reason in ("outside_population", "not_frontal_chest", "not_a_radiograph")},
    }
    fractions = {name: wilson_interval(count, len(predictions)) for name, count in called.items()}
    return {
        "images": len(predictions),
        "decisions": dict(Counter(p.decision.value for p in predictions)),
        "reasons": dict(reasons),
        "fractions": {name: vars(fraction) for name, fraction in fractions.items()},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="NAME=PATH")
    parser.add_argument("--bundle", action="append")
    parser.add_argument("--own-test", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("results/robustness/populations.json"))
    options = parser.parse_args()
    names = options.bundle or list(SHIPPED)
    sets = {}
    for name, path in (text.split("=", 1) for text in options.sets):
        sets |= {name + subset: files for subset, files in files_of(Path(path)).items()}
    if options.own_test:
        sets["official test images"] = test_images()
        facts = {"commit": commit(), "model": ", ".join(names)}
        append_to_ledger(USUAL_LEDGER, **facts, films=624, why="how many images are outside; no label read", result={})
    record = {}
    for name in names:
        bundle = find_bundle(name)
        with WorkerPool(bundle, 2) as pool:
            found = {each: [p for some in predict_files(files, pool) for p in some] for each, files in sets.items()}
        record[name] = {"bundle": bundle.sha256, "sets": {each: counted(some) for each, some in found.items()}}
        for each, figures in record[name]["sets"].items():
            parts = {k: round(100 * v["value"], 1) for k, v in figures["fractions"].items()}
            print(f"{name:8} {each:24} {figures['images']:5}", parts, flush=True)
    write_json(options.out, {"detectors": record} | provenance("experiments/other_populations.py"))


if __name__ == "__main__":
    main()
