"""What to do about each finding of an audit, in words."""

from pneumoscope.data.cues import TOGETHER, Cue

# Code of a finding to what to do; a part of error messages as well.
REMEDIES = {
    "unreadable": "Replace or remove them, or go on without them by --skip-unreadable",
    "blank": "Remove them, or export them again",
    "unknown_name": "Name the patients in a column of a table, or by a folder for each patient",
    "left_out_column": "Name that of the patients by --patient-column; rename a column that identifies nobody, to have it compared",
    "label_conflict": "Correct the class of these films",
    "duplicate": "Remove all but one of each: copies count twice",
    "near_duplicate": "See whether they are copies; keep copies in one split, or remove all but one",
    "near_duplicate_conflict": "See which label is right, and remove the other copy",
    "patient_on_two_sides": "Put all films of a patient into one split",
    "duplicate_across_splits": "Remove one copy of each",
    "near_duplicate_across_splits": "Remove one copy of each, or put both into one split",
    "missing_class": "Add films of the other class",
}
_STORAGE = (
    "Collect images of all classes from one export, and store them alike (one format, one quality). Storing again hides it only in part: vary "
    "compression and sharpness in training, and see by `pneumoscope stress` whether the model reads it"
)
_GEOMETRY = (
    "Bring all classes to one size in one way that keeps the aspect ratio (crop or pad all alike), vary scale and aspect ratio in training, and see "
    "by `pneumoscope stress` whether the model reads geometry"
)
_DEVICE = (
    "Collect all classes on the same devices. Else report results for each device apart, hold one device out as the test, and balance the classes "
    "within devices in training"
)
_PATIENTS = "Match the classes for it, or report results for each group apart: a model can read it off the image"
_GREY_LEVELS = (
    "This may be the disease itself, or exposure and device. Compare the classes within clusters, equalise grey levels and sharpness as an ablation, "
    "and see by `pneumoscope stress` what the model reads"
)
_COLUMN = (
    "Where it is another form of the label, leave the column out. Else match the classes for it, or report results for each of its values: a model "
    "can read it only as far as the image shows it"
)
_TOGETHER = "Several properties may predict the label jointly. Do what is advised for the strongest of them, audit again, and test on images from elsewhere"
_GEOMETRIES = ("width", "height", "aspect ratio", "image size", "pixel spacing")
_OF_PATIENTS = ("age", "sex", "view", "body part")


def remedy_of(cue: Cue) -> str:
    """What to do about a cue that predicts the label."""
    name = cue.name.removesuffix(" given")
    if cue.name == TOGETHER:
        return _TOGETHER
    if cue.origin == "column":
        return _COLUMN
    if cue.origin == "grey levels":
        return _GREY_LEVELS
    if name in _GEOMETRIES:
        return _GEOMETRY
    if cue.origin == "file":
        return _STORAGE
    return _PATIENTS if name in _OF_PATIENTS else _DEVICE
