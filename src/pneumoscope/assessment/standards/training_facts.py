"""Statements on the training of a bundle, from the configuration that its manifest records."""

from collections.abc import Callable, Mapping
from typing import Any

from pneumoscope.assessment.standards.statement import sentence
from pneumoscope.bundle import Manifest

# Text of a fact, empty where the manifest has none, and whether the fact applies.
Derived = tuple[str, bool]
_NOTHING: Derived = ("", True)
_AUGMENTATIONS = {
    "rotation_degrees": "rotation up to {:g} degrees",
    "stretch": "stretch up to a factor of {:g}",
    "shift": "shift up to {:g} of a side",
    "tone": "grey levels changed by up to {:g}",
    "smallest_resolution": "resolution down to {:g} pixels",
    "jpeg_quality": "JPEG quality down to {:g}",
    "letters": "letters in {:g} of the images",
    "noise": "noise up to {:g}",
    "margins": "margins in {:g} of the images",
    "surroundings": "surroundings of others in {:g} of the images",
    "crop": "crops down to {:g} of the area",
}
# Values that leave an image as it is, where these are not 0.
_WITHOUT = {"stretch": 1, "crop": 1}


def _at(table: Any, *keys: str) -> Any:
    """Value in nested tables; None where a key is missing."""
    for key in keys:
        table = table.get(key) if isinstance(table, Mapping) else None
    return table


def _configurations(manifest: Manifest) -> list[Mapping[str, Any]]:
    """Configurations of the networks: one, or those of an ensemble's members; none of a linear head."""
    members = manifest.training.get("members")
    if isinstance(members, list) and members:
        return [member["config"] for member in members if isinstance(_at(member, "config"), Mapping)]
    config = manifest.training.get("config")
    return [config] if isinstance(config, Mapping) and isinstance(config.get("training"), Mapping) else []


def _joined(texts: list[str]) -> str:
    """Texts of several networks as one, numbered where they differ."""
    distinct = list(dict.fromkeys(filter(None, texts)))
    if len(distinct) < 2:
        return "".join(f"{text}." for text in distinct)
    return " ".join(f"Network {number}: {text}." for number, text in enumerate(texts, start=1) if text)


def _training_size(manifest: Manifest) -> Derived:
    training, metrics = manifest.training, manifest.metrics
    if "images" in training:
        return (
            f"Training: {training['images']:,} images of {training.get('patients', 'an unknown number of')} patients.",
            True,
        )
    films = _at(metrics, "hard_validation", "films")
    return (f"Training: {films:,} images, each held out once in the cross-fitting.", True) if films else _NOTHING


def _architecture(manifest: Manifest) -> Derived:
    texts = []
    for config in _configurations(manifest):
        model = config.get("model", {})
        side = model.get("input_side")
        parts = [f"`{model.get('architecture', manifest.architecture)}`"]
        parts += [f"input reduced to {side} x {side} pixels"] if side else []
        parts += ["the lungs' part of the chest frame alone"] if model.get("lung_fields") else []
        parts += ["mean over image and mirror image"] if model.get("mirrored") else []
        texts.append(", ".join(parts))
    found = _joined(texts) or f"`{manifest.architecture}`."
    return (
        f"Convolutional network as ONNX: {found} {len(manifest.classes)} logits; layers in `pneumoscope models`.",
        True,
    )


def _augmentation(manifest: Manifest) -> Derived:
    texts = []
    for config in _configurations(manifest):
        settings = config.get("augmentation", {})
        used = {name: value for name, value in settings.items() if value != _WITHOUT.get(name, 0)}
        parts = [form.format(used[name]) for name, form in _AUGMENTATIONS.items() if name in used]
        parts += ["mirroring"] if _at(config, "training", "flip") else []
        mixing = _at(config, "model", "style_mixing")
        parts += [f"statistics of feature maps mixed in {mixing:g} of the batches"] if mixing else []
        texts.append(", ".join(parts) or "none")
    if not texts and manifest.parent:
        return "no network was trained: a head was fitted to the parent's features, or its calibration", False
    return (_joined(texts), True) if texts else _NOTHING


def _training_procedure(manifest: Manifest) -> Derived:
    texts = [_procedure(config["training"]) for config in _configurations(manifest)]
    method = manifest.training.get("method")
    seconds = manifest.training.get("training_seconds")
    parts = [f"Adapted: {method}."] if method else []
    parts += [_joined(texts)] if texts else []
    parts += [f"{seconds / 60:.0f} minutes in all."] if seconds else []
    return " ".join(parts), True


def _procedure(settings: Mapping[str, Any]) -> str:
    forms = {
        "optimiser": "optimiser {}",
        "epochs": "{} epochs at most",
        "batch_size": "batches of {}",
        "learning_rate": "learning rate {:g}",
        "weight_decay": "weight decay {:g}",
        "label_smoothing": "label smoothing {:g}",
        "patience": "patience {} epochs",
        "seed": "seed {}",
        "precision": "{}",
    }
    return ", ".join(
        form.format(settings[name]) for name, form in forms.items() if settings.get(name) not in (None, "")
    )


def _initialisation(manifest: Manifest) -> Derived:
    weights = manifest.training.get("weights")
    if isinstance(weights, Mapping) and weights.get("description"):
        return f"{weights['description']} (`{weights.get('file', '')}`, SHA-256 {weights.get('sha256', '')}).", True
    if isinstance(weights, str) and weights:
        return f"{weights}.", True
    if manifest.parent:
        parent = manifest.training.get("parent", {})
        return f"The weights of the parent, {_at(parent, 'name')} {_at(parent, 'version')}.", True
    return _NOTHING


def _model_selection(manifest: Manifest) -> Derived:
    candidates = _at(manifest.metrics, "site", "candidates")
    if candidates:
        shown = "; ".join(f"{each['candidate']} {each['auc']:.3f}" for each in candidates)
        return f"Chosen by nested cross-validation over patients, AUC of the candidates: {shown}.", True
    texts = []
    for config in _configurations(manifest):
        settings = config["training"]
        last = "the epoch with the lowest validation loss" if settings.get("restore_best") else "the last epoch"
        mean = f", running mean of the weights ({settings['average']:g})" if settings.get("average") else ""
        texts.append(f"weights of {last}{mean}")
    return _joined(texts), True


def _ensembling(manifest: Manifest) -> Derived:
    members = manifest.training.get("members")
    if not isinstance(members, list) or len(members) < 2:
        return "one network", False
    named = ", ".join(f"{_at(each, 'name')} (weight {_at(each, 'weight'):.2f})" for each in members)
    return f"{len(members)} networks, their logits weighted on out-of-fold predictions: {named}.", True


def _software(manifest: Manifest) -> Derived:
    training = manifest.training
    packages = training.get("packages")
    if not isinstance(packages, Mapping) or not training.get("python"):
        return _NOTHING
    versions = ", ".join(f"{name} {version}" for name, version in packages.items() if version != "absent")
    return (
        f"Trained with Python {training['python']}, {versions}; {training.get('machine', 'an unknown machine')}.",
        True,
    )


def _partitions(manifest: Manifest) -> Derived:
    if manifest.parent:
        return f"{sentence(manifest.fitted_on)}; folds are grouped by patient.", True
    found = f"Calibration and operating points are fitted on {manifest.fitted_on}."
    by = {str(_at(config, "split", "by")) for config in _configurations(manifest)} - {"None"}
    grouped = f" Validation images of a training are drawn by {', '.join(sorted(by))}." if by else ""
    return found + grouped, True


def _class_imbalance(manifest: Manifest) -> Derived:
    texts = []
    for config in _configurations(manifest):
        settings = config["training"]
        parts = ["classes weighted alike"] if settings.get("balance") else ["classes as frequent as in the data"]
        repeats = settings.get("odd_repeats")
        parts += [f"minority normals shown {repeats} times"] if isinstance(repeats, int) and repeats > 1 else []
        texts.append(", ".join(parts))
    prior = f"Probabilities are calibrated for a prevalence of {100 * manifest.prevalence:g} %."
    return f"{sentence(_joined(texts))} {prior}".strip(), True


TRAINING_TEXTS: dict[str, Callable[[Manifest], Derived]] = {
    "training_size": _training_size,
    "architecture": _architecture,
    "augmentation": _augmentation,
    "training_procedure": _training_procedure,
    "initialisation": _initialisation,
    "model_selection": _model_selection,
    "ensembling": _ensembling,
    "software": _software,
    "partitions": _partitions,
    "class_imbalance": _class_imbalance,
}
