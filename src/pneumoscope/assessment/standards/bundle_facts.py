"""Statements that the manifest of a bundle makes; what the manifest has not, is not stated.

A manifest records training and metrics as plain data, other data for a trained, an exported and an adapted bundle.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from pneumoscope.assessment.decision_tables import format_estimate
from pneumoscope.assessment.standards.statement import Statement, one_line, sentence
from pneumoscope.assessment.standards.training_facts import TRAINING_TEXTS
from pneumoscope.bundle import Bundle, Manifest
from pneumoscope.evaluation.intervals import estimate_of

_FITS = {
    "squash": "width and height stretched independently",
    "pad": "aspect kept, black borders added",
    "crop": "aspect kept, the longer side cropped about the centre",
    "chest": "the chest found and aligned with an atlas",
}
Found = TypeVar("Found")


def bundle_statements(bundle: Bundle) -> list[Statement]:
    """Statements of a bundle's manifest, those on its training among them."""
    manifest = bundle.manifest
    none: list[Statement] = []
    found = [
        Statement("detector", _detector(bundle), "bundle: name, version"),
        *(
            Statement(fact, text, f"bundle: {key}")
            for fact, (key, derive) in _MANIFEST_TEXTS.items()
            if (text := _derived(derive, manifest, ""))
        ),
        *(
            Statement(fact, text, "bundle: training", applies)
            for fact, derive_training in TRAINING_TEXTS.items()
            for text, applies in [_derived(derive_training, manifest, ("", True))]
            if text
        ),
        *_derived(_updating, manifest, none),
    ]
    return [replace(each, text=sentence(one_line(each.text)) if each.applies else each.text) for each in found]


def _derived(derive: Callable[[Manifest], Found], manifest: Manifest, missing: Found) -> Found:
    """Result of `derive`, or `missing` where plain data of the manifest are not of the form that pneumoscope writes."""
    try:
        return derive(manifest)
    except (AttributeError, KeyError, TypeError, ValueError):
        return missing


def _detector(bundle: Bundle) -> str:
    manifest = bundle.manifest
    made = str(manifest.training.get("date", ""))[:10]
    commit = manifest.training.get("commit", "")
    origin = f" by commit {commit} of pneumoscope" if commit else ""
    return f"Detector {manifest.name} {manifest.version}, SHA-256 {bundle.sha256}" + (
        f"; made {made}{origin}." if made else "."
    )


def _output(manifest: Manifest) -> str:
    scheme = manifest.scheme
    return (
        f"Probabilities of {', '.join(manifest.classes)}, for a prevalence of {scheme.positive} of {100 * manifest.prevalence:g} %, and a decision: "
        f"{scheme.negative}, {scheme.positive}, refer or rejected."
    )


def _scope(manifest: Manifest) -> str:
    ages, views = manifest.scope.ages, manifest.scope.views
    parts = [f"ages {ages[0]} to {ages[1]} years"] if ages else []
    parts += [f"views {', '.join(views)}"] if views else []
    return f"Valid for {'; '.join(parts)}. Other images are referred." if parts else ""


def _training_data(manifest: Manifest) -> str:
    # An adapted bundle keeps its parent's citation; its own images are those of the site.
    site = manifest.training.get("data")
    if manifest.parent:
        return f"Adapted to {site}. Parent: {manifest.citation}" if site else ""
    # The citations of the shipped bundles begin with what they cite.
    return f"Training images: {manifest.citation.removeprefix('Images: ')}" if manifest.citation else ""


def _preprocessing(manifest: Manifest) -> str:
    settings = manifest.preprocessing
    return (
        f"To {settings.width} x {settings.height} pixels, one grey channel: {_FITS[settings.fit]}; {settings.resampling}, antialiased. "
        f"Version {manifest.preprocessing_version} of the code, the same in training, evaluation and use."
    )


def _calibration(manifest: Manifest) -> str:
    found = manifest.calibration
    bias = f" and bias {', '.join(f'{value:.3f}' for value in found.bias)}" if found.bias else ""
    return f"Logits divided by the temperature {found.temperature:.3f}{bias}, fitted on {manifest.fitted_on}."


def _operating_points(manifest: Manifest) -> str:
    positive = manifest.scheme.positive
    points = "; ".join(
        f"{name}: {positive} from a probability of {point.threshold:.3f}, referred between {point.refer_from:.3f} and {point.refer_to:.3f}"
        for name, point in manifest.operating_points.items()
    )
    return f"Operating points: {points}. Fitted on {manifest.fitted_on}."


def _input_handling(manifest: Manifest) -> str:
    limits = manifest.guard
    return (
        "An input guard measures the distance of each image to the population that the detector was validated on: beyond "
        f"1 referred, beyond {limits.not_frontal_chest:.2f} rejected as no frontal chest radiograph, beyond {limits.not_a_radiograph:.2f} as no radiograph; "
        "inverted, upside-down and otherwise exposed images are found too."
    )


def _internal_testing(manifest: Manifest) -> str:
    """Performance that the manifest states: of validation images, or of a site by nested cross-validation."""
    if isinstance(site := manifest.metrics.get("site"), Mapping):
        return _site(site)
    parts = [
        f"AUC {found['auc']:.3f} on {found['films']:,} images of {_VALIDATIONS[name]}"
        for name, found in manifest.metrics.items()
        if name in _VALIDATIONS and isinstance(found, Mapping) and {"auc", "films"} <= set(found)
    ]
    return f"{'; '.join(parts)}." if parts else ""


_VALIDATIONS = {
    "hard_validation": "the stress validation (out of fold, within acquisition clusters)",
    "validation": "the validation, which also stopped the training",
}


def _site(site: Mapping[str, Any]) -> str:
    measures: Mapping[str, Mapping[str, float | None]] = site.get("cross_validated", {})
    figures = ", ".join(
        f"{label} {format_estimate(name, estimate_of(measures[name]))}"
        for name, label in (("auc", "AUC"), ("sensitivity", "sensitivity"), ("specificity", "specificity"))
        if name in measures
    )
    known = "" if site.get("patients_known", True) else " (not all patients known)"
    return (
        f"By nested cross-validation over the site's {site.get('patients', 'unknown')} patients{known}, {site.get('films', 'unknown')} images, "
        f"{site.get('positives', 'unknown')} of them positive: {figures}."
    )


def _updating(manifest: Manifest) -> list[Statement]:
    """Parent, method and gain of an adapted bundle."""
    source = "bundle: parent, metrics.site"
    if not manifest.parent:
        return [Statement("updating", "the bundle was not adapted from another", "bundle: parent", applies=False)]
    parent = manifest.training.get("parent", {})
    named = f"{parent.get('name', 'a bundle')} {parent.get('version', '')}".strip()
    text = (
        f"Adapted from {named} (SHA-256 {manifest.parent}) by: {manifest.training.get('method', 'an unnamed method')}."
    )
    site = manifest.metrics.get("site", {})
    if "parent" in site:
        before, gain = (estimate_of(site["parent"][name]) for name in ("auc", "gain"))
        text += f" AUC of the parent on the same images {format_estimate('auc', before)}, gain {format_estimate('auc', gain)}."
    for warning in site.get("warnings", ()):
        text += f" {warning}"
    return [Statement("updating", text, source)]


# Fact to the keys of the manifest that state it, and the text; the text is empty where they state nothing.
_MANIFEST_TEXTS: dict[str, tuple[str, Callable[[Manifest], str]]] = {
    "output": ("classes, prevalence", _output),
    "intended_use": ("intended_use", lambda manifest: manifest.intended_use),
    "scope": ("scope", _scope),
    "training_data": ("citation", _training_data),
    "preprocessing": ("preprocessing", _preprocessing),
    "calibration": ("calibration, fitted_on", _calibration),
    "operating_points": ("operating_points, fitted_on", _operating_points),
    "licence": ("licence", lambda manifest: "" if manifest.licence == "not stated" else manifest.licence),
    "input_handling": ("guard", _input_handling),
    "internal_testing": ("metrics", _internal_testing),
}
