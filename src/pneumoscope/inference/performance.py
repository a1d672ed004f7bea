"""Performance of a bundle on the official test images, as `scripts/publish_measured.py` recorded it."""

import json
from importlib.resources import files
from typing import Any

from pneumoscope.bundle import Bundle


def measured_performance(bundle: Bundle) -> dict[str, Any]:
    """Looks up the measured performance of a bundle.

    Returns:
        `detector`: measures with their 95 % intervals and the calibration curve; in `curve`, for each of a hundred thresholds, the
        four counts with the intervals of sensitivity and specificity, every image counted on one side of the threshold; in `points`
        the same at the operating points, with the fraction of images that is referred and the accuracy of those that are not; in
        `balanced`, reference to outcome to number of images (`flow`) with sensitivity and specificity of the images with a decision.
        None for a bundle that was not measured on the test images.
        `site`: performance of a recalibrated bundle at its site; None for others. `study`: performance of the study's
        networks on the same test images. `notice`: research-use notice of the bundle.
    """
    measured = json.loads(files("pneumoscope").joinpath("bundles", "measured.json").read_text(encoding="utf-8"))
    return {
        "detector": measured["detectors"].get(bundle.sha256),
        "site": bundle.manifest.metrics.get("site"),
        "study": measured["study"],
        "notice": bundle.manifest.notice,
    }
