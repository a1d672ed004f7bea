#!/usr/bin/env python3
"""Fits the input guard of a bundle again, with the bundle's own network: weights, calibration and operating points stay.

    experiments/refit_guard.py src/pneumoscope/bundles/nano.zip --data chest_xray

The reference statistics of drift, which contain the guard's distance, are fitted again as well. The data set is the bundle's training
set, split as its final training had it.
"""

import argparse
import json
import zipfile
from dataclasses import replace
from pathlib import Path

from pneumoscope import paths
from pneumoscope.bundle import FORMAT, Bundle, save_bundle
from pneumoscope.bundle.archive import GOLDEN, MANIFEST, MODEL, _arrays
from pneumoscope.bundle.manifest import manifest_from_json
from pneumoscope.config import SplitConfig
from pneumoscope.data.dataset import load_dataset
from pneumoscope.data.locate import locate
from pneumoscope.detector_training.bundling import SCOPE, fit_reference_to
from pneumoscope.detector_training.guard_fitting import fit_guard_to
from pneumoscope.inference.network import Network
from pneumoscope.progress import silent
from pneumoscope.provenance import provenance


def read(path):
    """Manifest, network and golden outputs of a bundle, also of one whose guard has an earlier format."""
    with zipfile.ZipFile(path) as archive:
        table = json.loads(archive.read(MANIFEST))
        model, golden = archive.read(MODEL), _arrays(archive.read(GOLDEN), GOLDEN, path)
    table.pop("least_similarity", None)
    table |= {"guard": {"feature_weight": 0.5, "outside": 1.0, "not_frontal_chest": 1.0, "not_a_radiograph": 1.0}}
    table["guard"]["suspicious_similarity"] = 0.0
    table |= {"scope": {"ages": SCOPE.ages, "views": SCOPE.views}, "format": FORMAT}
    return manifest_from_json(table, str(path)), model, golden


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, help="else the bundle itself")
    options = parser.parse_args()
    manifest, model, golden = read(options.bundle)
    settings = manifest.preprocessing
    dataset = load_dataset(locate(options.data).root, settings, SplitConfig(), paths.images_directory(), silent)
    if (found := dataset.index.hash) != (expected := manifest.training["index_hash"]):
        raise SystemExit(f"expected the data set with the index {expected}, found {found}: name it with --data")
    guard = fit_guard_to(Network(model, settings.height, settings.width), dataset, settings)
    training = manifest.training | {"guard": provenance("experiments/refit_guard.py")}
    made = replace(manifest, guard=guard.limits, training=training)
    out = options.out or options.bundle
    bundle: Bundle = save_bundle(out, made, model, golden, guard.arrays())
    made = replace(made, reference=fit_reference_to(bundle, dataset))
    bundle = save_bundle(out, made, model, golden, guard.arrays())
    size = sum(array.nbytes for array in guard.arrays().values())
    print(f"{out}: {bundle.sha256}, guard {size / 1000:.0f} kB, {guard.limits}")


if __name__ == "__main__":
    main()
