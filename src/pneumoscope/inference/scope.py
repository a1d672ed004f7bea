"""Scope: whether patient and exposure, as a DICOM header tells, are what a bundle was validated for."""

from dataclasses import dataclass

from pneumoscope.bundle import Scope
from pneumoscope.data.groups import normalised_view
from pneumoscope.types import ImageHeader, Reason

# Words of Body Part Examined that a chest radiograph may have; values that say nothing are not compared.
_CHEST_WORDS = ("CHEST", "THORAX", "TORAX", "LUNG", "RIB")
_SAYS_NOTHING = ("", "UNKNOWN", "OTHER", "UNDEFINED", "NONE", "DEFAULT")
# Modalities (PS3.3, C.7.3.1.1.1) of projection radiographs, and those of images that were converted.
_PROJECTION = ("", "CR", "DX", "RG", "RF", "DR", "OT", "SC")


@dataclass(frozen=True)
class HeaderRemarks:
    """What follows from the header of an image.

    Attributes:
        outside: Reasons for which the bundle was not validated on such an image.
        remarks: Explanations of these, and of what the header leaves open.
        header: The header; None where the image has none.
    """

    outside: tuple[Reason, ...] = ()
    remarks: tuple[str, ...] = ()
    header: ImageHeader | None = None


def compare_header(header: ImageHeader | None, scope: Scope) -> HeaderRemarks:
    """Compare the header of an image with the scope of a bundle; an image without one leaves nothing to compare."""
    if header is None:
        return HeaderRemarks()
    outside: list[Reason] = []
    remarks: list[str] = []
    if header.modality not in _PROJECTION:
        outside.append(Reason.OUTSIDE_MODALITY)
        remarks.append(f"expected a projection radiograph, found the modality {header.modality} in the header")
    if header.body_part not in _SAYS_NOTHING and not any(word in header.body_part for word in _CHEST_WORDS):
        outside.append(Reason.OUTSIDE_BODY_PART)
        remarks.append(f"expected the body part CHEST, found {header.body_part} in the header")
    view = normalised_view(header.view)
    if view and scope.views and view not in scope.views:
        outside.append(Reason.OUTSIDE_VIEW)
        remarks.append(f"expected the view {' or '.join(scope.views)}, found {header.view} in the header")
    if scope.ages is not None:
        youngest, oldest = scope.ages
        if header.age_years is None:
            remarks.append(
                f"no age in the header: whether the patient is {youngest} to {oldest} years old is not known"
            )
        elif not youngest <= header.age_years < oldest + 1:
            outside.append(Reason.OUTSIDE_AGE)
            remarks.append(
                f"expected a patient of {youngest} to {oldest} years, found {header.age_years:.3g} in the header"
            )
    return HeaderRemarks(tuple(outside), tuple(remarks), header)
