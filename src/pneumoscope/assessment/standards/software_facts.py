"""Statements that hold for every bundle, because of how pneumoscope works."""

from pneumoscope import __version__
from pneumoscope.assessment.standards.statement import Statement

_SOURCE = f"pneumoscope {__version__}"
_TEXTS = {
    "disjointness": "A bundle names its training images by hash; `evaluate` refuses to count any of these files.",
    "no_decision": (
        "Near the threshold, or unlike the images that the detector was validated on: referred, no decision. Unreadable, or no frontal chest "
        "radiograph: rejected, with a reason and without a probability. Both are counted under their reason; sensitivity, specificity and accuracy "
        "are given of the images with a decision, and of all with no decision counted as wrong."
    ),
    "blinding_of_detector": (
        "The detector gets the pixels. Of a DICOM header it uses how to show them, and age, view, body part and modality to refer images outside "
        "its scope; no other clinical information, and no reference standard."
    ),
    "explainability": "An evidence map of each prediction where it is wanted: what sets the image apart from normal ones, by integrated gradients, or exact contributions of a linear head.",
    "predictors": "All pixels of the preprocessed image; none were selected.",
    "interaction": "None with the network: an image gives a decision. Users choose an operating point and may name a prevalence; referred and rejected images are for a reader.",
    "code_availability": f"Training, evaluation and inference: pneumoscope {__version__}, Apache-2.0.",
    "audit_trail": (
        "Every prediction names the image and the bundle by hash, operating point, decision and reasons; `predict` and `evaluate` write one row an image. "
        "Service and DICOM node keep records of their own."
    ),
}
_NOT_APPLICABLE = {"predictor_assessors": "predictors are pixels, which nobody assesses"}


def software_statements() -> list[Statement]:
    """Statements that hold for every bundle."""
    return [
        *(Statement(fact, text, _SOURCE) for fact, text in _TEXTS.items()),
        *(Statement(fact, reason, _SOURCE, applies=False) for fact, reason in _NOT_APPLICABLE.items()),
    ]
