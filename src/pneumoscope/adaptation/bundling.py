"""Bundle of a site: the chosen candidate fitted to all images, its policy, the site's population, and what the bundle says of itself."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoscope.adaptation.adapt import Adaptation
from pneumoscope.adaptation.cross_validation import fit_candidate_policy
from pneumoscope.adaptation.methods import FittedNetwork
from pneumoscope.adaptation.population import fit_site_guard, site_scope
from pneumoscope.adaptation.site import SiteImages
from pneumoscope.bundle import INPUT, OUTPUTS, TRAINING_HASHES, Bundle, Manifest, save_bundle, training_hashes
from pneumoscope.config import DetectorConfig
from pneumoscope.decision import Calibration, DecisionPolicy
from pneumoscope.inference.drift import fit_reference
from pneumoscope.inference.guard import Guard
from pneumoscope.inference.network import Network
from pneumoscope.provenance import provenance


@dataclass(frozen=True)
class SiteDescription:
    """Description that a new bundle gives of itself.

    Attributes:
        name: Name of the detector.
        version: Version of the bundle.
        intended_use: Intended use in words; follows from the data where empty.
        licence: Licence; that of the parent where empty.
        origin: Name of the data set.
    """

    name: str
    version: str
    intended_use: str
    licence: str
    origin: str


def make_site_bundle(
    parent: Bundle,
    adaptation: Adaptation,
    description: SiteDescription,
    settings: DetectorConfig,
    out: Path,
    describe: Callable[[Bundle], SiteImages],
) -> Bundle:
    """Make the bundle of a site: the chosen candidate fitted to all images, its policy, and the site's own population.

    Args:
        parent: Bundle that is adapted.
        adaptation: Result of `adapt`, better than chance.
        description: Name, version and intended use.
        settings: Targets of the operating points.
        out: File of the new bundle, ending in `.zip`.
        describe: Function that describes the same images by another bundle, where the network, and with it the features, is
            new.
    """
    images, chosen = adaptation.images, adaptation.chosen
    everything = np.arange(len(images))
    policy = fit_candidate_policy(chosen, images, everything, settings).policy
    fitted = chosen.method.only(chosen.number).fitted(images)
    if fitted == FittedNetwork():
        fitted = replace(fitted, head=parent.head)
        policy = replace(policy, calibration=_composed(parent.manifest, policy.calibration))
    # Two classes may follow three: the new network is calibrated by its own policy.
    own = replace(parent.manifest, classes=chosen.method.scheme.names, calibration=policy.calibration)
    new = replace(parent, manifest=own, model=fitted.model or parent.model, head=fitted.head)
    # A guard without a network of its own looks at the features of the new one.
    guard, distance = adaptation.guard, adaptation.distance
    if fitted.model and not parent.guard_model:
        guard, distance, _ = fit_site_guard(Guard.from_bundle(parent), describe(new))
    probability = adaptation.nested.probability
    statistics = [
        replace(each, probability=float(p), distance=float(d))
        for each, p, d in zip(images.statistics, probability, distance, strict=True)
    ]
    manifest = replace(
        _manifest(parent.manifest, adaptation, policy, description, fitted.config),
        guard=guard.limits,
        scope=site_scope(images.headers),
        reference=fit_reference(statistics, sum(images.rejected.values())),
        parent=parent.sha256,
    )
    return save_bundle(out, manifest, new.model, _golden(new, images), guard.arrays(), parent.guard_model, new.head)


def _composed(manifest: Manifest, second: Calibration) -> Calibration:
    """Compose the manifest's calibration and a second one, fitted to the logits of its probabilities."""
    first = manifest.calibration
    bias = np.zeros(len(manifest.classes)) + (np.asarray(first.bias) if first.bias else 0)
    bias = bias / second.temperature + (np.asarray(second.bias) if second.bias else 0)
    return Calibration(first.temperature * second.temperature, tuple(bias.tolist()))


def _manifest(
    parent: Manifest,
    adaptation: Adaptation,
    policy: DecisionPolicy,
    description: SiteDescription,
    config: dict[str, Any] | None,
) -> Manifest:
    """Manifest of a site's bundle; what the parent claims of its own population is left out."""
    scheme, count = adaptation.scheme, len(adaptation.images)
    use = (
        f"Research on images like the {count} of {description.origin} that it was fitted to: {scheme.negative} or "
        f"{scheme.positive}. Its performance elsewhere is unknown. Not for deciding on treatment."
    )
    training: Mapping[str, Any] = {
        "method": adaptation.chosen.description,
        "images": count,
        "patients": adaptation.patients,
        "data": description.origin,
        "parent": {"name": parent.name, "version": parent.version, "training": parent.training},
        **({"config": config} if config else {}),
        **provenance(),
    }
    return replace(
        parent.with_policy(policy, f"{count} images of {description.origin}, each held out in turn"),
        name=description.name,
        version=description.version,
        classes=adaptation.chosen.method.scheme.names,
        intended_use=description.intended_use or use,
        licence=description.licence or f"{parent.licence}; adapted to images of {description.origin}",
        training=dict(training),
        metrics={"site": adaptation.to_dict()},
    )


def _golden(new: Bundle, images: SiteImages) -> dict[str, NDArray[Any]]:
    """Golden inputs of the parent with the outputs of the new network; hashes of the site's images beside the parent's."""
    settings, films = new.manifest.preprocessing, new.golden[INPUT]
    outputs = Network(new.model, settings.height, settings.width, head=new.head).run(films, *OUTPUTS)
    hashes = np.concatenate([new.golden.get(TRAINING_HASHES, np.zeros(0, np.uint64)), training_hashes(images.sha256)])
    return {INPUT: films} | dict(zip(OUTPUTS, outputs, strict=True)) | {TRAINING_HASHES: np.unique(hashes)}
