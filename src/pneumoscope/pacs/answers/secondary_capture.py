"""Secondary capture: the picture of a prediction as an image of the study, which every viewer shows."""

from copy import copy

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.uid import SecondaryCaptureImageStorage

from pneumoscope.inference.overlay import Pixels
from pneumoscope.pacs import MANUFACTURER
from pneumoscope.pacs.answers import coding
from pneumoscope.pacs.answers.common import VERSION, Answer, complete, date_of, time_of
from pneumoscope.pacs.answers.picture import draw_answer

# What the picture inherits from the image: how it lies, what it shows, what is burnt in, how it was compressed before.
_INHERITED = (
    *("PatientOrientation", "ImageLaterality", "BodyPartExamined", "BurnedInAnnotation"),
    *("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"),
)


def make_secondary_capture(answer: Answer, image: Pixels | None) -> pydicom.Dataset:
    """Secondary capture with the picture of a prediction, RGB of 8 bits, uncompressed.

    Args:
        answer: Header and prediction.
        image: (height, width) grey levels, bright is dense; None where the image could not be read.
    """
    header, made = answer.header, answer.made
    capture = pydicom.Dataset()
    capture.SOPClassUID = SecondaryCaptureImageStorage
    capture.SOPInstanceUID = answer.uid("sc")
    capture.SeriesInstanceUID = answer.series_uid("sc")
    capture.SeriesNumber = answer.series_number("sc")
    capture.InstanceNumber = answer.instance_number
    capture.Modality = "OT"
    capture.ConversionType = "WSD"
    capture.ImageType = ["DERIVED", "SECONDARY"]
    capture.ContentDate = capture.DateOfSecondaryCapture = date_of(made)
    capture.ContentTime = capture.TimeOfSecondaryCapture = time_of(made)
    capture.SecondaryCaptureDeviceManufacturer = MANUFACTURER
    capture.SecondaryCaptureDeviceManufacturerModelName = answer.model
    capture.SecondaryCaptureDeviceSoftwareVersions = VERSION
    capture.DerivationDescription = _derivation(answer)
    capture.SourceImageSequence = [_source(header)]
    # Where the header says nothing of it, whether the film names a patient is not known: the picture adds no name.
    capture.PatientOrientation = None
    # The chest is no paired part of the body.
    capture.ImageLaterality = "U"
    for keyword in _INHERITED:
        if keyword in header:
            capture.add(copy(header[keyword]))
    _set_pixels(capture, np.asarray(draw_answer(answer.prediction, image, answer.model)))
    return complete(capture, "sc", answer)


def _derivation(answer: Answer) -> str:
    prediction = answer.prediction
    what = "with evidence map" if prediction.evidence_map is not None else "without evidence map"
    return f"Film {what}, decision and words of {answer.model} ({prediction.bundle.sha256[:12]}). {prediction.notice}"


def _source(header: pydicom.Dataset) -> pydicom.Dataset:
    item = pydicom.Dataset()
    item.ReferencedSOPClassUID = header.SOPClassUID
    item.ReferencedSOPInstanceUID = header.SOPInstanceUID
    item.PurposeOfReferenceCodeSequence = [coding.SOURCE_IMAGE]
    # The film is enlarged or made smaller, and stands between bands of words.
    item.SpatialLocationsPreserved = "NO"
    return item


def _set_pixels(capture: pydicom.Dataset, pixels: NDArray[np.uint8]) -> None:
    capture.SamplesPerPixel = 3
    capture.PhotometricInterpretation = "RGB"
    capture.PlanarConfiguration = 0
    capture.Rows, capture.Columns = pixels.shape[:2]
    capture.BitsAllocated = capture.BitsStored = 8
    capture.HighBit = 7
    capture.PixelRepresentation = 0
    content = pixels.tobytes()
    capture.add_new("PixelData", "OB", content + b"\0" * (len(content) % 2))
