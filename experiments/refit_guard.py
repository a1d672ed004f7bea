#!/usr/bin/env python3
"""Fits the input guard of a bundle again, with the bundle's own network: weights, calibration and operating points stay.

    experiments/refit_guard.py src/pneumoscope/bundles/nano.zip --data chest_xray

The reference statistics of drift, which contain the guard's distance, are fitted again as well. The data set is the bundle's training
set, split as its final training had it.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from pneumoscope import paths
from pneumoscope.bundle import load_bundle, save_bundle
from pneumoscope.config import SplitConfig
from pneumoscope.data.dataset import load_dataset
from pneumoscope.data.locate import locate
from pneumoscope.data.preprocessing import PREPROCESSING_VERSION
from pneumoscope.detector_training.bundling import fit_reference_to
from pneumoscope.detector_training.guard_fitting import fit_guard_to
from pneumoscope.inference.network import Network
from pneumoscope.progress import silent
from pneumoscope.provenance import provenance


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, help="else the bundle itself")
    options = parser.parse_args()
    bundle = load_bundle(options.bundle)
    manifest, settings = bundle.manifest, bundle.manifest.preprocessing
    dataset = load_dataset(locate(options.data).root, settings, SplitConfig(), paths.images_directory(), silent)
    if (found := dataset.index.hash) != (expected := manifest.training["index_hash"]):
        raise SystemExit(f"expected the data set with the index {expected}, found {found}: name it with --data")
    guard = fit_guard_to(Network(bundle.model, settings.height, settings.width), dataset, settings)
    training = manifest.training | {"guard": provenance("experiments/refit_guard.py")}
    made = replace(manifest, guard=guard.limits, training=training, preprocessing_version=PREPROCESSING_VERSION)
    out = options.out or options.bundle
    parts = (bundle.model, bundle.golden, guard.arrays())
    made = replace(made, reference=fit_reference_to(save_bundle(out, made, *parts), dataset))
    bundle = save_bundle(out, made, *parts)
    size = sum(array.nbytes for array in guard.arrays().values())
    print(f"{out}: {bundle.sha256}, guard {size / 1000:.0f} kB, {guard.limits}")


if __name__ == "__main__":
    main()
