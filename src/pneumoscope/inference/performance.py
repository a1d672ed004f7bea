"""How good a bundle is, as it was measured on the official test images after it was made; `scripts/publish_measured.py` writes it."""

import json
from importlib.resources import files
from typing import Any

from pneumoscope.bundle import Bundle


def measured(bundle: Bundle) -> dict[str, Any]:
    """What is known of a bundle.

    Returns:
        `detector`: measures with their 95 % intervals, and for each of a hundred thresholds the four counts with the
        intervals of sensitivity and specificity, and the calibration curve; None for a bundle that was not measured on the
        test images. `site`: what a bundle calibrated to a site's images reached there; None for others. `study`: the study's
        networks on the same test images.
    """
    held = json.loads(files("pneumoscope").joinpath("bundles", "measured.json").read_text(encoding="utf-8"))
    return {
        "detector": held["detectors"].get(bundle.sha256),
        "site": bundle.manifest.metrics.get("site"),
        "study": held["study"],
        "notice": bundle.manifest.notice,
    }
