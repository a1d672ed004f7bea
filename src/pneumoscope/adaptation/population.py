"""Population of a site: distance and limit fitted to its images and export variants of them, as at the parent's fit."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pneumoscope.adaptation.site import SiteImages
from pneumoscope.bundle import Scope
from pneumoscope.data.groups import FRONTAL_VIEWS, normalised_view
from pneumoscope.decision import Floats
from pneumoscope.evaluation.intervals import patient_numbers
from pneumoscope.inference.guard import Guard
from pneumoscope.inference.population import fit_population_by_patient
from pneumoscope.types import ImageHeader

# Fraction of a site's own images that may lie outside, and number of references, as at the parent's fit.
_OUTSIDE_FRACTION, _REFERENCES = 0.02, 1000
# Fraction of the images whose headers or table say age or view, from which on a bundle is bound to these.
_KNOWN = 0.9
# Images of a view, from which on the bundle is validated for it.
_FEWEST_OF_A_VIEW = 10


def fit_site_guard(parent: Guard, images: SiteImages) -> tuple[Guard, Floats, NDArray[np.bool_]]:
    """Guard for a site's images, and their distances.

    Args:
        parent: Guard of the parent bundle, whose limits of rejection, in units of the population's, stay.
        images: Images of the site.

    Returns:
        Guard with the population of the site; (n,) distances of the images to references of other patients; and (n,) bool, those
        that lie outside, about one in fifty.
    """
    population, distance, outside = fit_population_by_patient(
        images.guard,
        images.variants,
        images.origin,
        patient_numbers(images.patients),
        _OUTSIDE_FRACTION,
        _REFERENCES,
        np.random.default_rng(0),
    )
    limits = replace(parent.limits, feature_weight=population.feature_weight, outside=population.limit)
    return Guard(limits, population), distance, outside


def site_scope(headers: Sequence[ImageHeader]) -> Scope:
    """Ages and views, AP or PA, of images with these headers, where nearly all of them are known."""
    ages = [header.age_years for header in headers if header.age_years is not None]
    views = [view for header in headers if (view := normalised_view(header.view)) in FRONTAL_VIEWS]
    needed = _KNOWN * len(headers)
    return Scope(
        (int(min(ages)), int(max(ages))) if len(ages) >= needed else None,
        tuple(sorted({view for view in views if views.count(view) >= _FEWEST_OF_A_VIEW}))
        if len(views) >= needed
        else (),
    )
