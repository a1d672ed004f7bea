#!/usr/bin/env python3
"""What `adapt` makes of the labelled images of other hospitals, and what the new bundles do with images that they have not seen.

    experiments/adaptation.py NAME=PATH[:POSITIVE] ... [--foreign NAME=FOLDER ...] [--bundle default --bundle nano] [--out FILE]

For each bundle and data set: `adapt` on all images; on shuffled labels; and on half of the patients, whose bundle then decides on the
other half and on foreign images as any user gets it.
"""

import argparse
import random
import resource
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from pneumoscope.adaptation.adapt import adapt
from pneumoscope.adaptation.bundling import SiteDescription, make_site_bundle
from pneumoscope.adaptation.cross_validation import grouped_folds
from pneumoscope.adaptation.methods import usable_methods
from pneumoscope.adaptation.site import Resumable, SiteImages, describe_site
from pneumoscope.bundle import find_bundle
from pneumoscope.config import DetectorConfig
from pneumoscope.data.sources import open_source
from pneumoscope.evaluation.intervals import wilson_interval
from pneumoscope.evaluation.metrics import roc_auc
from pneumoscope.files import write_json
from pneumoscope.inference.batch import predict_files
from pneumoscope.inference.pool import WorkerPool
from pneumoscope.inference.population import Descriptions
from pneumoscope.progress import silent
from pneumoscope.provenance import provenance
from pneumoscope.types import IMAGE_SUFFIXES, Decision

SETTINGS = DetectorConfig()


def some_of(images, rows):
    """Images of a site at some positions."""
    kept = set(rows.tolist())
    variants = np.array([i for i, origin in enumerate(images.origin) if origin in kept])
    number = {int(row): place for place, row in enumerate(rows)}
    chosen = {}
    for name in SiteImages.__dataclass_fields__:
        value = getattr(images, name)
        if name == "variants":
            value = value[variants]
        elif name == "origin":
            value = np.array([number[int(images.origin[i])] for i in variants])
        elif name == "rejected_images":
            value = ()  # the other half's are not known to be of these patients
        elif isinstance(value, tuple):
            value = tuple(value[i] for i in rows)
        elif isinstance(value, np.ndarray | Descriptions):
            value = value[rows]
        chosen[name] = value
    return SiteImages(**chosen)


def summary(found, images):
    """Figures of an adaptation that are quoted."""
    record = found.to_dict()
    by_view = {}
    for view in ("AP", "PA"):
        own = np.array([header.view == view for header in images.headers])
        if own.any():
            by_view[view] = {
                "images": int(own.sum()),
                "auc": roc_auc(found.nested.probability[own], images.positive[own]),
            }
    kept = (
        "films",
        "patients",
        "rejected",
        "chosen",
        "made",
        "cross_validated",
        "parent",
        "candidates",
        "learning_curve",
    )
    audit = record["acquisition"]
    acquisition = {
        "auc": audit["together"]["value"],
        "auc_within": audit["within"] and audit["within"]["value"],
        "warning": audit["warning"],
    }
    return {name: record[name] for name in kept} | {"views": by_view, "acquisition": acquisition}


def shuffled(parent, images, scheme, seeds=5):
    """AUC with its interval, and whether a bundle would be made, for labels shuffled over the images."""
    results = []
    for seed in range(seeds):
        label = images.label.tolist()
        random.Random(seed).shuffle(label)
        found = adapt(
            parent,
            replace(images, label=np.array(label)),
            scheme,
            SETTINGS,
            usable_methods(parent.manifest.scheme, scheme, images.etiologies, None),
            silent,
        )
        results.append({"auc": vars(found.auc), "made": found.better_than_chance})
    return results


def decided(pool, files):
    """Decisions on files, and the fraction that get one with its interval."""
    predictions = [p for batch in predict_files(map(str, files), pool) for p in batch]
    answered = sum(p.decision in (Decision.NORMAL, Decision.PNEUMONIA) for p in predictions)
    return predictions, {
        "images": len(predictions),
        "decisions": dict(Counter(p.decision.value for p in predictions)),
        "outside": sum(not p.validated and p.decision is Decision.REFER for p in predictions),
        "answered": vars(wilson_interval(answered, len(predictions))),
    }


def half_and_half(parent, images, source, name, foreign):
    """A bundle for half of the patients, measured on the others and on foreign images."""
    fold = grouped_folds(images.label, images.patients, 2)
    fit, rest = some_of(images, np.flatnonzero(fold == 0)), some_of(images, np.flatnonzero(fold == 1))
    found = adapt(
        parent,
        fit,
        source.scheme,
        SETTINGS,
        usable_methods(parent.manifest.scheme, source.scheme, fit.etiologies, None),
        silent,
    )
    with tempfile.TemporaryDirectory() as folder:
        description = SiteDescription(name, "1", "", "", name)
        made = make_site_bundle(parent, found, description, SETTINGS, Path(folder) / "site.zip", lambda new: fit)
        with WorkerPool(made, 2) as pool:
            predictions, flow = decided(pool, [source.file_of(path) for path in rest.paths])
            elsewhere = {other: decided(pool, files)[1] for other, files in foreign.items()}
    probability = np.array(
        [np.nan if p.pneumonia_probability is None else p.pneumonia_probability for p in predictions]
    )
    decision = np.array([p.decision.value for p in predictions])
    right = np.where(rest.positive, "pneumonia", "normal") == decision
    read = np.isfinite(probability)
    gets = np.isin(decision, ("normal", "pneumonia"))
    return {
        "fitted_to": len(fit),
        "expected_auc": vars(found.auc),
        "others": flow
        | {
            "auc": roc_auc(probability[read], rest.positive[read]),
            "sensitivity": float(right[gets & rest.positive].mean()),
            "specificity": float(right[gets & ~rest.positive].mean()),
        },
        "foreign": elsewhere,
    }


def described(parent, each):
    """Name, source and described images of a data set NAME=PATH[:POSITIVE], and the seconds that took."""
    name, _, rest = each.partition("=")
    path, _, positive = rest.partition(":")
    source = open_source(Path(path), positive or "pneumonia")
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, WorkerPool(parent, 2) as pool:
        images = describe_site(pool, source, Resumable(Path(folder) / "d", {}), lambda done, total: None)
    return name, source, images, time.perf_counter() - began


def files_in(folder):
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+")
    parser.add_argument("--foreign", nargs="*", default=[])
    parser.add_argument("--bundle", action="append")
    parser.add_argument("--out", type=Path, default=Path("results/robustness/adaptation.json"))
    options = parser.parse_args()
    foreign = {name: files_in(Path(path)) for name, _, path in (each.partition("=") for each in options.foreign)}
    results = {}
    for bundle in options.bundle or ("default", "nano"):
        parent = find_bundle(bundle)
        for each in options.data:
            name, source, images, describing = described(parent, each)
            began = time.perf_counter()
            methods = usable_methods(parent.manifest.scheme, source.scheme, images.etiologies, None)
            found = adapt(parent, images, source.scheme, SETTINGS, methods, silent)
            seconds = {"describing": describing, "all": describing + time.perf_counter() - began}
            results.setdefault(bundle, {})[name] = summary(found, images) | {
                "seconds": seconds,
                "shuffled": shuffled(parent, images, source.scheme),
                "half": half_and_half(parent, images, source, name, foreign),
            }
            print(bundle, name, found.verdict, seconds, flush=True)
    peak = {
        "this": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "largest_worker": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
    }
    write_json(options.out, {"bundles": results, "peak_mb": peak} | provenance("experiments/adaptation.py"))


if __name__ == "__main__":
    main()
