"""Is the evidence map about the answer? Deletion and sanity tests of a shipped detector's maps; writes JSON.

    .venv/bin/python experiments/evidence.py [--bundle default] [--images 200]

Deletion: the fifth of the image that the map marks most is replaced by its blurred self, and so are regions of the same shape
elsewhere; the answer's probability should fall more for the first. A third region is where the mean of all maps marks most: what
beats that has to do with this image, not with where lungs usually lie. Sanity (Adebayo et al., NeurIPS 2018, arXiv 1810.03292):
a network of the same form with random weights should give another map. Zones: the mirror image and a JPEG of quality 40 should give the
same lung zones; a zone agrees that is named (20 % of the evidence) in both or neither, or in one and has at least 15 % in the other. Images are pneumonias and normals of the
tenth that watched the training.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from scipy.stats import spearmanr

from pneumoscope import paths
from pneumoscope.config import Preprocessing, SplitConfig, config_from_table
from pneumoscope.data.augmentation import recompress_jpeg
from pneumoscope.data.cache import cached_images
from pneumoscope.data.dataset import load_dataset
from pneumoscope.data.locate import locate
from pneumoscope.decision import pneumonia_probability
from pneumoscope.evaluation.intervals import interval_of
from pneumoscope.files import write_json
from pneumoscope.inference.detector import load_detector
from pneumoscope.inference.zones import NAMED
from pneumoscope.models.ensemble import Ensemble
from pneumoscope.models.evidence import explain
from pneumoscope.models.registry import build_model
from pneumoscope.provenance import provenance
from pneumoscope.training.batches import as_network_input
from pneumoscope.types import THREE_CLASS, ZONES, Split

SHARE = 0.2
ELSEWHERE = 8
TOLERANCE = 0.05


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
    squares = cached_images(dataset.source, dataset.index, Preprocessing(), paths.images_directory())
    zones = stable_zones(detector, [squares[i] for i in watched[label > 0][: options.images]])
    print(zones)
    made = provenance("experiments/evidence.py")
    name = manifest.name
    record = {
        "detector": name,
        "bundle": detector.bundle.sha256,
        "share": SHARE,
        "deletion": deletion,
        "sanity": sanity,
        "zones": zones,
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
    training = detector.bundle.manifest.training
    members = [each for each in training.get("members", [training | {"weight": 1.0}]) if each["weight"] > 0]
    networks = []
    for number, member in enumerate(members):
        model = config_from_table(member["config"], "manifest").model
        networks.append(build_model(model, seed=7 + number, height=images.shape[1], width=images.shape[2]))
        torch.nn.init.normal_(networks[-1].head.dense.weight, generator=torch.Generator().manual_seed(7 + number))
    own = maps(detector, images)
    with torch.no_grad():
        _, evidence, *_ = explain(Ensemble(networks, [member["weight"] for member in members])).eval()(
            as_network_input(images)
        )
    everywhere = (evidence[:, 1:].mean(dim=1) - evidence[:, 0]).numpy()
    return {"itself": correlation(own, own), "all_weights_random": correlation(own, everywhere)}


def stable_zones(detector, squares):
    """How often a film, its mirror image and its compressed copy have the same lung zones."""
    views = {
        "as_it_is": squares,
        "mirrored": [np.ascontiguousarray(square[:, ::-1]) for square in squares],
        "jpeg_40": [recompress_jpeg(square, 40) for square in squares],
    }
    zones = {
        name: [score.zones for score in detector.score_many(some, rejected_too=True)] for name, some in views.items()
    }
    found = {"films": len(squares), "placed": float(np.mean([each is not None for each in zones["as_it_is"]]))}
    for view in ("mirrored", "jpeg_40"):
        pairs = [
            (fractions(one, False), fractions(other, view == "mirrored"))
            for one, other in zip(zones["as_it_is"], zones[view], strict=True)
            if one and other
        ]
        one, other = (np.array(each) for each in zip(*pairs, strict=True))
        contradicted = ((one >= NAMED) & (other < NAMED - TOLERANCE)) | ((other >= NAMED) & (one < NAMED - TOLERANCE))
        found[view] = {
            "films": len(pairs),
            "agree": float((~contradicted.any(axis=1)).mean()),
            "same_names": float(((one >= NAMED) == (other >= NAMED)).all(axis=1).mean()),
            "largest_change_median": float(np.median(np.abs(one - other).max(axis=1))),
        }
    return found


def fractions(zones, mirrored):
    """Fractions in the order of `ZONES`, with right and left exchanged for a mirror image."""
    sides = {"right": "left", "left": "right"}
    exchanged = {"_".join([sides.get(part, part) for part in name.split("_")]): share for name, share in zones.items()}
    return [(exchanged if mirrored else zones)[name] for name in ZONES]


def correlation(one, other):
    return float(np.mean([spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(one, other, strict=True)]))


if __name__ == "__main__":
    main()
