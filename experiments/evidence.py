"""Is the evidence map about the answer? Deletion and sanity tests of a shipped detector's maps; writes JSON.

    .venv/bin/python experiments/evidence.py [--bundle default] [--images 200]

Deletion: the fifth of the image that the map marks most is replaced, and so are regions of the same shape elsewhere in the part that the
network sees; the answer's probability should fall more for the first. A third region is where the mean of all maps marks most: what
beats that has to do with this image, not with where lungs usually lie. Replaced by the image itself, blurred, and by the same
region of five normal training images, brought to the image's mean and deviation: the lungs lie alike in all chest frames.
Sanity (Adebayo et al., NeurIPS 2018, arXiv 1810.03292): networks of the same form with random weights should give other maps.
Zones: the mirror image and a JPEG of quality 40 should give the same lung zones; a zone agrees that is named (20 % of the evidence) in
both or neither, or in one and has at least 15 % in the other. Images are pneumonias and normals of the tenth that watched the training.
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
from pneumoscope.models.efficientnet_lite import LUNG_FIELDS
from pneumoscope.models.ensemble import Ensemble
from pneumoscope.models.evidence import explain, set_reference
from pneumoscope.models.registry import build_model
from pneumoscope.provenance import provenance
from pneumoscope.training.batches import as_network_input
from pneumoscope.types import THREE_CLASS, ZONES, Split

SHARE = 0.2
ELSEWHERE = 8
TOLERANCE = 0.05
# Normal training images to replace regions by, and how many of them for each image.
POOL, NORMALS = 60, 5
RANDOM_NETWORKS, SOME = 20, 40


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
    train = dataset.positions(Split.TRAIN)
    normals = dataset.images[rng.choice(train[dataset.labels(THREE_CLASS, train) == 0], POOL, replace=False)]
    deletion = {}
    for kind, chosen in (("pneumonia", label > 0), ("normal", label == 0)):
        images = dataset.images[watched[chosen][: options.images]]
        deletion[kind] = delete(detector, images, normals, kind == "pneumonia", rng)
        print(kind, deletion[kind])
    images = dataset.images[watched[label > 0][: options.images]]
    sanity = other_weights(detector, images[:SOME], normals)
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


def delete(detector, images, normals, positive, rng):
    """How far the probability of the right answer falls."""
    side, part = images.shape[1], visible(detector, images.shape[1:])

    def right(some):
        probability = pneumonia_probability(detector.class_probabilities(some))
        return probability if positive else 1 - probability

    def fall(regions, replacements):
        """Mean over the replacements; regions end softly, so that no edge is answered to."""
        weights = np.stack([soften(region) for region in regions])
        mixed = [np.rint(images * (1 - weights) + other * weights).astype(np.uint8) for other in replacements]
        return before - np.mean([right(each) for each in mixed], axis=0)

    before = right(images)
    evidences = maps(detector, images) * (1 if positive else -1)
    marked = [most_marked(evidence, side) for evidence in evidences]
    usual = [most_marked(evidences.mean(axis=0), side)] * len(images)
    by = {
        "blurred": [np.stack([blur(image) for image in images])],
        "normal": [
            np.stack([toned_as(normals[(shift + 5 * i) % len(normals)], image) for i, image in enumerate(images)])
            for shift in range(NORMALS)
        ],
    }
    found = {"films": len(images)}
    for name, replacements in by.items():
        falls, falls_usual = fall(marked, replacements), fall(usual, replacements)
        found[name] = {
            "fall_where_marked": mean(falls, rng),
            "fall_where_the_mean_map_marks": mean(falls_usual, rng),
            "marked_falls_more_than_mean_map": mean((falls > falls_usual).astype(float), rng),
        }
        if name == "blurred":
            elsewhere = [[rolled(region, part, rng) for region in marked] for _ in range(ELSEWHERE)]
            falls_elsewhere = np.mean([fall(regions, replacements) for regions in elsewhere], axis=0)
            found[name] |= {
                "fall_elsewhere": mean(falls_elsewhere, rng),
                "marked_falls_more": float((falls > falls_elsewhere).mean()),
            }
    return found


def visible(detector, shape):
    """Rows and columns of the chest frame that the network sees, as slices."""
    sees_lungs_alone = all(each["config"]["model"]["lung_fields"] for each in members_of(detector))
    part = LUNG_FIELDS if sees_lungs_alone else ((0, 1), (0, 1))
    return tuple(
        slice(round(length * first), round(length * last)) for length, (first, last) in zip(shape, part, strict=True)
    )


def members_of(detector):
    """Configuration and weight of the network, or of the networks of an ensemble."""
    training = detector.bundle.manifest.training
    return [each for each in training.get("members", [training | {"weight": 1.0}]) if each["weight"] > 0]


def rolled(region, part, rng):
    """The same shape, pushed round the visible part by at least a quarter of its sides."""
    inside = region[part]
    pushed = [rng.integers(length // 4, 3 * length // 4) for length in inside.shape]
    other = np.zeros_like(region)
    other[part] = np.roll(inside, pushed, (0, 1))
    return other


def soften(region):
    mask = Image.fromarray((255 * region).astype(np.uint8))
    return np.asarray(mask.filter(ImageFilter.GaussianBlur(region.shape[0] / 56)), dtype=np.float32) / 255


def toned_as(other, image):
    """Another image with the mean and the deviation of an image."""
    standard = (other - other.mean()) / max(float(other.std()), 1.0)
    return np.clip(standard * image.std() + image.mean(), 0, 255)


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


def other_weights(detector, images, normals):
    """Rank correlation, where the network sees, of the maps with those of networks of the same form with random weights."""
    members = members_of(detector)
    own, found = detector.evidence(images), []
    for draw in range(RANDOM_NETWORKS):
        networks = []
        for number, member in enumerate(members):
            model, seed = config_from_table(member["config"], "manifest").model, 100 * draw + number
            networks.append(build_model(model, seed=seed, height=images.shape[1], width=images.shape[2]))
            torch.nn.init.normal_(networks[-1].head.dense.weight, generator=torch.Generator().manual_seed(seed))
        network = Ensemble(networks, [member["weight"] for member in members])
        set_reference(network, [as_network_input(normals)])
        with torch.no_grad():
            random = explain(network).eval()(as_network_input(images))[1].numpy()
        found.append(correlation(own, random, visible(detector, own.shape[2:])))
    return {"networks": len(found), "mean": float(np.mean(found)), "low": min(found), "high": max(found)}


def stable_zones(detector, squares):
    """How often a film, its mirror image and its compressed copy have the same lung zones."""
    views = {
        "as_it_is": squares,
        "mirrored": [np.ascontiguousarray(square[:, ::-1]) for square in squares],
        "jpeg_40": [recompress_jpeg(square, 40) for square in squares],
    }
    zones = {
        name: [score.zones for score in detector.score_many(some, evidence=True, rejected_too=True)]
        for name, some in views.items()
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


def correlation(one, other, part):
    """Mean rank correlation of the maps of pneumonia, both kinds alike, against normal."""
    one, other = ((each[:, 1:].mean(axis=1) - each[:, 0])[:, *part] for each in (one, other))
    return float(np.mean([spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(one, other, strict=True)]))


if __name__ == "__main__":
    main()
