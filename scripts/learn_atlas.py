"""Learn the chest atlas that ships with the package from training images only: equally many of each class, drawn with a seed.

    .venv/bin/python scripts/learn_atlas.py [--per-class 300]

Writes src/pneumoscope/data/chest_atlas.npy. Preprocessing changes with it: raise PREPROCESSING_VERSION.
"""

import argparse
from pathlib import Path

import numpy as np

from pneumoscope import paths
from pneumoscope.config import Preprocessing, SplitConfig
from pneumoscope.data.alignment import fit_atlas
from pneumoscope.data.dataset import load_dataset
from pneumoscope.data.locate import locate
from pneumoscope.files import atomic_write
from pneumoscope.types import Split

TARGET = Path(__file__).resolve().parent.parent / "src" / "pneumoscope" / "data" / "chest_atlas.npy"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--per-class", type=int, default=300)
    options = parser.parse_args()
    dataset = load_dataset(locate(None).root, Preprocessing(), SplitConfig(), paths.images_directory())
    positions = dataset.positions(Split.TRAIN)
    label = np.array([dataset.index.rows[i].label for i in positions])
    rng = np.random.default_rng(0)
    chosen = [rng.choice(positions[label == name], options.per_class, replace=False) for name in np.unique(label)]
    atlas = fit_atlas(dataset.images[np.sort(np.concatenate(chosen))])
    with atomic_write(TARGET) as temporary, temporary.open("wb") as stream:
        np.save(stream, atlas.template)
    print(TARGET)


if __name__ == "__main__":
    main()
