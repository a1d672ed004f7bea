"""Grayscale presentation state: the frame that the network saw and the decision, drawn by the viewer over the image."""

import highdicom as hd
import numpy as np
import pydicom
from highdicom import pr

from pneumoscope.inference.prediction import Prediction
from pneumoscope.pacs import MANUFACTURER
from pneumoscope.pacs.answers.common import DEVICE, Answer, complete, date_of, referred_image, time_of
from pneumoscope.pacs.answers.picture import headline, reasons_in_words

_GREY = ("MONOCHROME1", "MONOCHROME2")
_ORANGE = hd.color.CIELabColor(70.0, 40.0, 70.0)


def make_presentation_state(answer: Answer) -> pydicom.Dataset | None:
    """Grayscale Softcopy Presentation State of an image; the whole image is shown.

    Returns:
        The state; None for what is no grey image of a known size, and for an image with windows or tables that are damaged, since a
        state without them would show it otherwise than the image itself is shown.
    """
    image = referred_image(answer.header)
    if not (image.get("Rows") and image.get("Columns")) or image.get("PhotometricInterpretation") not in _GREY:
        return None
    image.SamplesPerPixel = 1
    try:
        state = _state(answer, image)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return None
    state.PresentationCreationDate, state.PresentationCreationTime = date_of(answer.made), time_of(answer.made)
    # Required as for paired parts of the body, which the chest is not; the image says it, where it does.
    state.Laterality = None
    # highdicom adds the device of the acquisition, about which the header here says nothing, and the time of its clock.
    state.pop("ContributingEquipmentSequence", None)
    return complete(state, "gsps", answer)


def _state(answer: Answer, image: pydicom.Dataset) -> pr.GrayscaleSoftcopyPresentationState:
    layer = pr.GraphicLayer("PNEUMOSCOPE", order=1, description=f"{DEVICE}: research use only", display_color=_ORANGE)
    annotation = pr.GraphicAnnotation(
        referenced_images=[image],
        graphic_layer=layer,
        graphic_objects=_outline(answer.prediction, image.Rows, image.Columns),
        text_objects=[_words(answer.prediction)],
    )
    inverted = image.get("PhotometricInterpretation") == "MONOCHROME1"
    return pr.GrayscaleSoftcopyPresentationState(
        referenced_images=[image],
        series_instance_uid=answer.series_uid("gsps"),
        series_number=answer.series_number("gsps"),
        sop_instance_uid=answer.uid("gsps"),
        instance_number=answer.instance_number,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=answer.model,
        software_versions="",
        device_serial_number=answer.prediction.bundle.sha256,
        content_label="PNEUMOSCOPE",
        content_description=f"{DEVICE}: research use only",
        graphic_annotations=[annotation],
        graphic_layers=[layer],
        presentation_lut_transformation=hd.PresentationLUTTransformation(
            presentation_lut_shape="INVERSE" if inverted else "IDENTITY"
        ),
    )


def _outline(prediction: Prediction, rows: int, columns: int) -> list[pr.GraphicObject] | None:
    """Outline of the frame, within the image; none where the network did not see it, or must not be quoted."""
    if prediction.frame is None or prediction.pneumonia_probability is None:
        return None
    top, left, bottom, right = np.clip(prediction.frame, 0, 1) * (rows, columns, rows, columns)
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom], [left, top]])
    return [pr.GraphicObject("POLYLINE", corners, units="PIXEL")]


def _words(prediction: Prediction) -> pr.TextObject:
    """Decision and notice, in the lower left of what is shown."""
    words = [headline(prediction)]
    if (probability := prediction.pneumonia_probability) is not None:
        words.append(f"probability of {prediction.scheme.positive} {probability:.1%}")
    if reasons := reasons_in_words(prediction):
        words.append(reasons)
    return pr.TextObject(
        "\r\n".join((*words, prediction.notice)),
        units="DISPLAY",
        bounding_box=(0.02, 0.86, 0.98, 0.98),
        text_justification="LEFT",
    )
