"""Is the evidence map about the answer? Deletion and sanity tests of a shipped detector's maps; writes JSON.

    .venv/bin/python experiments/evidence.py [--bundle default] [--images 200]

Deletion: the fifth of the image that the map marks most is replaced by its blurred self, and so are regions of the same shape
elsewhere; the answer's probability should fall more for the first. A third region is where the mean of all maps marks most: what
beats that has to do with this image, not with where lungs usually lie. Sanity (Adebayo et al., NeurIPS 2018, arXiv 1810.03292):
a network of the same form with random weights should give another map. Images are pneumonias and normals of the
tenth that watched the training.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from scipy.stats import spearmanr

from pneumoscope import paths
from pneumoscope.config import SplitConfig, config_from_table
from pneumoscope.data.dataset import load_dataset
from pneumoscope.data.locate import locate
from pneumoscope.decision import pneumonia_probability
from pneumoscope.evaluation.intervals import interval_of
from pneumoscope.files import write_json
from pneumoscope.inference.detector import load_detector
from pneumoscope.models.evidence import ExplainedClassifier
from pneumoscope.models.registry import build_model
from pneumoscope.provenance import provenance
from pneumoscope.training.batches import as_network_input
from pneumoscope.types import THREE_CLASS, Split

SHARE = 0.2
ELSEWHERE = 8


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="default")
    parser.add_argument("--images", type=int, default=200, help="of each kind")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    detector = load_detector(options.bundle)
    manifest = detector.bundle.manifest
    dataset = load_dataset(locate(None).root, manifest.preprocessing, SplitConfig(), paths.images_directory())
    watched = dataset.positions(Split.VALIDATION)
    label = dataset.labels(THREE_CLASS, watched)
    rng = np.random.default_rng(0)
    deletion = {}
    for kind, chosen in (("pneumonia", label > 0), ("normal", label == 0)):
        images = dataset.images[watched[chosen][: options.images]]
        deletion[kind] = delete(detector, images, kind == "pneumonia", rng)
        print(kind, deletion[kind])
    images = dataset.images[watched[label > 0][: options.images]]
    sanity = other_weights(detector, images)
    print(sanity)
    made = provenance("experiments/evidence.py")
    name = manifest.name
    record = {
        "detector": name,
        "bundle": detector.bundle.sha256,
        "share": SHARE,
        "deletion": deletion,
        "sanity": sanity,
    }
    write_json(options.out or Path(f"results/detector/evidence-{name}.json"), record | made)


def maps(detector, images):
    """(n, rows, columns) of pneumonia against normal."""
    evidence = detector.evidence(images)
    kinds = detector.class_probabilities(images)[:, 1:]
    kinds = kinds / kinds.sum(axis=1, keepdims=True)
    return np.einsum("nk,nkhw->nhw", kinds, evidence[:, 1:]) - evidence[:, 0]


def delete(detector, images, positive, rng):
    """How far the probability of the right answer falls."""
    split = images.shape[1]

    def right(some):
        probability = pneumonia_probability(detector.class_probabilities(some))
        return probability if positive else 1 - probability

    before, blurred = right(images), np.stack([blur(image) for image in images])
    marked, usual, elsewhere = [], [], [[] for _ in range(ELSEWHERE)]
    evidences = maps(detector, images) * (1 if positive else -1)
    usual_region = most_marked(evidences.mean(axis=0), split)
    for image, soft, evidence in zip(images, blurred, evidences, strict=True):
        region = most_marked(evidence, split)
        marked.append(np.where(region, soft, image))
        usual.append(np.where(usual_region, soft, image))
        for others in elsewhere:
            # The same shape, pushed round the image by at least a quarter of its side.
            down, across = rng.integers(split // 4, 3 * split // 4, 2)
            others.append(np.where(np.roll(region, (down, across), (0, 1)), soft, image))
    fall = before - right(np.stack(marked))
    fall_usual = before - right(np.stack(usual))
    fall_elsewhere = np.mean([before - right(np.stack(others)) for others in elsewhere], axis=0)
    return {
        "films": len(images),
        "fall_where_marked": mean(fall, rng),
        "fall_elsewhere": mean(fall_elsewhere, rng),
        "fall_where_the_mean_map_marks": mean(fall_usual, rng),
        "marked_falls_more": float((fall > fall_elsewhere).mean()),
        "marked_falls_more_than_mean_map": float((fall > fall_usual).mean()),
    }


def most_marked(evidence, split):
    """(side, side) bool, the fifth that a map marks most."""
    wide = Image.fromarray(evidence.astype(np.float32)).resize((split, split), Image.Resampling.BICUBIC)
    return np.asarray(wide) >= np.quantile(np.asarray(wide), 1 - SHARE)


def mean(values, rng):
    drawn = values[rng.integers(0, len(values), (1000, len(values)))].mean(axis=1)
    found = interval_of(float(values.mean()), drawn)
    return {"value": found.value, "low": found.low, "high": found.high}


def blur(image):
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(image.shape[0] / 12)))


def other_weights(detector, images):
    """Rank correlation of the maps with those of a network of the same form with random weights."""
    if "members" in detector.bundle.manifest.training:
        return None  # its members have random forms of their own
    config = config_from_table(detector.bundle.manifest.training["config"], "manifest")
    random = build_model(config.model, seed=7, height=images.shape[1], width=images.shape[2]).eval()
    torch.nn.init.normal_(random.head.dense.weight, generator=torch.Generator().manual_seed(7))
    own = maps(detector, images)
    with torch.no_grad():
        _, evidence, *_ = ExplainedClassifier(random)(as_network_input(images))
    everywhere = (evidence[:, 1:].mean(dim=1) - evidence[:, 0]).numpy()
    return {"itself": correlation(own, own), "all_weights_random": correlation(own, everywhere)}


def correlation(one, other):
    return float(np.mean([spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(one, other, strict=True)]))


if __name__ == "__main__":
    main()
