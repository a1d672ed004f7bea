"""Ways to train the small network that no configuration has, each on the folds of acquisition clusters, beside the usual one.

    .venv/bin/python experiments/methods.py usual sharpness-aware ... [--folds 0,1] [--epochs 6] [--side 64]

All share one recipe: `nano` on the lung fields at 64 pixels, six epochs, otherwise as it ships. Figures as in `experiments/ablate.py`,
means over the folds; results/detector/methods.json gets an entry per method. The test images are out of reach here.

    usual               cross-entropy
    twice               twice as many epochs
    crops               random crops of 8 % of the area and more (arXiv 1409.4842), twice as many epochs
    hard-labels         without label smoothing
    undoubted           without the training images whose labels are doubted (results/detector/doubted_labels.json)
    sharpness-aware     sharpness-aware minimisation (Foret et al., arXiv 2010.01412), radius .05
    group-dro           the worst of the groups cluster x class weighted up (Sagawa et al., arXiv 1911.08731), step .01
    cluster-reversed    the acquisition cluster predicted from the features, its gradient reversed (Ganin et al., arXiv 1505.07818)
    mixup-in-cluster    images mixed within their acquisition cluster (Zhang et al., arXiv 1710.09412), Beta(.2, .2)
    balanced-head       the last layer fitted again on normals stored like pneumonias (Kirichenko et al., arXiv 2204.02937)
    self-supervised     first as many epochs of SimCLR (Chen et al., arXiv 2002.05709), two differently stored views of an image
    distilled           half of the loss to the answers of the network of --teacher for the same fold, temperature 2
"""

import argparse
import copy
import json
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ablate import judge
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn import functional

from pneumoscope import paths
from pneumoscope.config import SplitConfig
from pneumoscope.configs import shipped_config
from pneumoscope.data.dataset import load_dataset
from pneumoscope.data.labelled import LabelledImages, labelled_images, oversample
from pneumoscope.data.locate import locate
from pneumoscope.detector_training.stress_validation import make_stress_images, run_stress_validation
from pneumoscope.files import write_json
from pneumoscope.provenance import provenance
from pneumoscope.training.allocator import keep_freed_memory
from pneumoscope.training.averaging import WeightAverage
from pneumoscope.training.batches import AugmentedInputs, as_network_input
from pneumoscope.training.networks import InitialWeights, build_network, find_pretrained, load_network
from pneumoscope.training.optimiser import make_optimiser
from pneumoscope.training.precision import resolve_precision
from pneumoscope.training.run_folder import RunFolder
from pneumoscope.types import Split

METHODS = (
    "usual",
    "twice",
    "crops",
    "hard-labels",
    "undoubted",
    "sharpness-aware",
    "group-dro",
    "cluster-reversed",
    "mixup-in-cluster",
    "balanced-head",
    "self-supervised",
    "distilled",
)
SHOWN = ("within_auc", "shifted_auc", "odd_shifted_auc", "viral_auc", "three_class")
RADIUS, DRO_STEP, REVERSED, MIXED, TEMPERATURE, CONTRAST = 0.05, 0.01, 0.1, 0.2, 2.0, 0.2


@dataclass
class Trained:
    """What a method may use at each step.

    Attributes:
        model: Network.
        loss: Cross-entropy of the recipe.
        clusters: (films,) int, acquisition cluster of each image.
        extra: Modules and weights of the method itself.
    """

    model: Any
    loss: nn.CrossEntropyLoss
    clusters: np.ndarray
    extra: dict


class Reversal(torch.autograd.Function):
    """Identity whose gradient is reversed."""

    @staticmethod
    def forward(context, features):
        return features.view_as(features)

    @staticmethod
    def backward(context, gradient):
        return -REVERSED * gradient


def usual(trained, images, label, cluster):
    return trained.loss(trained.model(images), label)


def group_dro(trained, images, label, cluster):
    each = functional.cross_entropy(
        trained.model(images), label, reduction="none", label_smoothing=trained.loss.label_smoothing
    )
    group = cluster * 3 + label
    weight = trained.extra.setdefault("groups", torch.ones(3 * (int(trained.clusters.max()) + 1)))
    present = torch.unique(group)
    means = torch.stack([each[group == one].mean() for one in present])
    weight[present] *= torch.exp(DRO_STEP * means.detach())
    weight /= weight.mean()
    return (weight[present] * means).sum() / weight[present].sum()


def cluster_reversed(trained, images, label, cluster):
    maps = trained.model.base(images)
    guess = trained.extra["head"](Reversal.apply(maps.mean(dim=(2, 3))))
    return trained.loss(trained.model.head(maps), label) + functional.cross_entropy(guess, cluster)


def mixup_in_cluster(trained, images, label, cluster):
    other = torch.arange(len(label))
    for one in torch.unique(cluster):
        members = torch.nonzero(cluster == one)[:, 0]
        other[members] = members[torch.randperm(len(members))]
    own = float(np.random.default_rng(int(torch.randint(2**31, ()))).beta(MIXED, MIXED))
    logits = trained.model(own * images + (1 - own) * images[other])
    return own * trained.loss(logits, label) + (1 - own) * trained.loss(logits, label[other])


def distilled(trained, images, label, cluster):
    logits = trained.model(images)
    with torch.no_grad():
        target = functional.softmax(trained.extra["teacher"](images) / TEMPERATURE, dim=1)
    told = functional.kl_div(functional.log_softmax(logits / TEMPERATURE, dim=1), target, reduction="batchmean")
    return (trained.loss(logits, label) + TEMPERATURE**2 * told) / 2


LOSSES = {
    "group-dro": group_dro,
    "cluster-reversed": cluster_reversed,
    "mixup-in-cluster": mixup_in_cluster,
    "distilled": distilled,
}


@contextmanager
def at_the_worst_nearby(parameters):
    """Weights moved by RADIUS along their gradient, and moved back."""
    norm = torch.sqrt(sum(p.grad.square().sum() for p in parameters)).item()
    moves = [p.grad * (RADIUS / max(norm, 1e-12)) for p in parameters]
    with torch.no_grad():
        for p, move in zip(parameters, moves, strict=True):
            p.add_(move)
    yield
    with torch.no_grad():
        for p, move in zip(parameters, moves, strict=True):
            p.sub_(move)


def train_by(method, config, dataset, clusters, options):
    """A network trained on the training images of a fold."""
    data = training_images(method, config, dataset, clusters)
    model = build_network(config, InitialWeights(pretrained=find_pretrained(config.model.architecture, None)))
    model.to(memory_format=torch.channels_last)
    if method == "self-supervised":
        contrast(model, data, config)
    settings = config.training
    trained = Trained(model, nn.CrossEntropyLoss(label_smoothing=settings.label_smoothing), clusters.cluster_of, {})
    parameters = list(model.parameters())
    if method == "cluster-reversed":
        trained.extra["head"] = nn.Linear(model.head.dense.in_features, int(clusters.cluster_of.max()) + 1)
        parameters += trained.extra["head"].parameters()
    if method == "distilled":
        folder = options.teacher / f"fold-{config.split.fold}" / f"seed-{settings.seed}"
        trained.extra["teacher"] = load_network(RunFolder(folder)).eval()
    loss_of = LOSSES.get(method, usual)
    optimiser = make_optimiser(parameters, settings, -(-len(data) // settings.batch_size))
    average = WeightAverage(model, settings.average, {})
    steps = 0
    for epoch in range(settings.epochs):
        model.train()
        torch.manual_seed(settings.seed * 1000 + epoch)
        for images, label, cluster in batches(data, config, epoch, clusters):
            optimiser.zero_grad(set_to_none=True)
            loss_of(trained, images, label, cluster).backward()
            if method == "sharpness-aware":
                with at_the_worst_nearby(parameters):
                    optimiser.zero_grad(set_to_none=True)
                    loss_of(trained, images, label, cluster).backward()
            optimiser.before_step(steps)
            optimiser.step()
            steps += 1
            average.update(steps)
    model.load_own_state(model.own_state() | average.values)
    model.eval()
    if method == "balanced-head":
        fit_head_again(model, dataset, data, config, clusters)
    return model


def training_images(method, config, dataset, clusters):
    """Training images of a fold, with the minority normals repeated."""
    data = labelled_images(dataset, Split.TRAIN, 3)
    if method == "undoubted":
        doubted = {
            each["file"] for each in json.loads(Path("results/detector/doubted_labels.json").read_text())["doubted"]
        }
        paths_of = np.array([dataset.index.rows[i].path for i in data.positions])
        kept = ~np.isin(paths_of, list(doubted))
        if kept.all():
            raise SystemExit("expected doubted images among the training images, found none")
        data = LabelledImages(data.images, data.positions[kept], data.labels[kept])
    return oversample(data, clusters.minority_normals(data.positions, data.labels), config.training.odd_repeats)


def batches(data, config, epoch, clusters):
    """Images, classes and clusters of the steps of one epoch; order and augmentation are those of the package's own training."""
    settings = config.training
    rng = np.random.default_rng([settings.seed, epoch])
    order, flipped = rng.permutation(len(data)), rng.random(len(data)) < 0.5 * settings.flip
    inputs = AugmentedInputs(data, config.augmentation).for_epoch(settings.seed, epoch)
    for start in range(0, len(order), settings.batch_size):
        part = slice(start, start + settings.batch_size)
        chosen = order[part]
        cluster = torch.from_numpy(clusters.cluster_of[data.positions[chosen]]).long()
        yield inputs.take(chosen, flipped[part]), torch.from_numpy(data.labels[chosen]), cluster


def contrast(model, data, config, batch=128):
    """SimCLR: two views of an image, each stored, moved and toned in its own way, are to have like features."""
    trunk, width = model.base, model.head.dense.in_features
    projection = nn.Sequential(nn.Linear(width, 256), nn.ReLU(), nn.Linear(256, 128))
    parameters = [*trunk.parameters(), *projection.parameters()]
    settings = replace(config.training, batch_size=batch)
    optimiser = make_optimiser(parameters, settings, -(-len(data) // batch))
    steps = 0
    for epoch in range(settings.epochs):
        trunk.train()
        views = [AugmentedInputs(data, config.augmentation).for_epoch(seed, epoch) for seed in (101, 102)]
        order = np.random.default_rng([7, epoch]).permutation(len(data))
        for start in range(0, len(order), batch):
            chosen = np.sort(order[start : start + batch])
            chosen = chosen[np.unique(data.positions[chosen], return_index=True)[1]]
            unmoved = np.zeros(len(chosen), dtype=bool)
            images = torch.cat([view.take(chosen, unmoved) for view in views])
            codes = functional.normalize(projection(trunk(images).mean(dim=(2, 3))), dim=1)
            alike = codes @ codes.t() / CONTRAST
            alike.fill_diagonal_(-1e9)
            loss = functional.cross_entropy(alike, torch.arange(len(codes)).roll(len(chosen)))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.before_step(steps)
            optimiser.step()
            steps += 1


def fit_head_again(model, dataset, data, config, clusters):
    """The last layer fitted on pooled features of training images of which half are normals, none of them told by how it is stored."""
    once = np.unique(data.positions, return_index=True)[1]
    plain = LabelledImages(data.images, data.positions[once], data.labels[once])
    stored = make_stress_images(dataset, plain, config.preprocessing)
    minority = clusters.minority_normals(plain.positions, plain.labels)
    images = np.where(minority[:, None, None], plain.images[plain.positions], stored.images)
    groups = [
        (minority, 0.25),
        ((plain.labels == 0) & ~minority, 0.25),
        (plain.labels == 1, 0.25),
        (plain.labels == 2, 0.25),
    ]
    weight = np.zeros(len(plain))
    for members, fraction in groups:
        weight[members] = fraction / members.sum() * len(plain)
    with torch.no_grad():
        features = [
            model.base(as_network_input(images[i : i + 64])).mean(dim=(2, 3)) for i in range(0, len(images), 64)
        ]
    values = torch.cat(features).numpy()
    scale = values.std(axis=0) + 1e-6
    fitted = LogisticRegression(C=0.1, max_iter=2000).fit(values / scale, plain.labels, sample_weight=weight)
    with torch.no_grad():
        model.head.dense.weight.copy_(torch.from_numpy(fitted.coef_ / scale))
        model.head.dense.bias.copy_(torch.from_numpy(fitted.intercept_))


def recipe_of(method, options, fold):
    """Configuration of a method."""
    base = shipped_config("nano")
    config = replace(
        base,
        model=replace(base.model, input_side=options.side),
        split=SplitConfig(seed=0, folds=3, fold=fold, by="style"),
        augmentation=replace(base.augmentation, crop=0.08) if method == "crops" else base.augmentation,
    )
    epochs = options.epochs * (2 if method in ("twice", "crops") else 1)
    smoothing = 0.0 if method == "hard-labels" else base.training.label_smoothing
    return config.with_training(epochs=epochs, patience=epochs, label_smoothing=smoothing, seed=options.seed)


def main():
    keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="+", choices=METHODS)
    parser.add_argument("--folds", default="0,1")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--teacher", type=Path, default=Path("runs/detector/folds"))
    parser.add_argument("--out", type=Path, default=Path("results/detector/methods.json"))
    options = parser.parse_args()
    location, made = locate(None), provenance("experiments/methods.py")
    folds = [int(each) for each in options.folds.split(",")]
    for method in options.methods:
        told = []
        for fold in folds:
            began = time.perf_counter()
            config = recipe_of(method, options, fold)
            dataset = load_dataset(location, config.preprocessing, config.split, paths.images_directory())
            model = train_by(method, config, dataset, copy.copy(dataset.clusters), options)
            found = judge(run_stress_validation(model, dataset, config.preprocessing, resolve_precision("fp32")))
            told.append({"fold": fold} | {name: found[name] for name in SHOWN})
            shown = " ".join(f"{name} {found[name]:.3f}" for name in SHOWN)
            print(f"{method} fold {fold} ({time.perf_counter() - began:.0f} s): {shown}", file=sys.stderr, flush=True)
        # Read anew: another process may have added its methods meanwhile.
        record = json.loads(options.out.read_text()) if options.out.exists() else {"methods": {}}
        record["methods"][method] = {
            "folds": told,
            "epochs": options.epochs,
            "side": options.side,
            "seed": options.seed,
            "made": made,
        }
        write_json(options.out, record)


if __name__ == "__main__":
    main()
