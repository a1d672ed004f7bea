"""Views and sexes of images, as tables and DICOM objects write them."""

# Views of frontal radiographs, and other ways to write them.
FRONTAL_VIEWS = ("AP", "PA")
_SAME_VIEW = {"ANTEROPOSTERIOR": "AP", "POSTEROANTERIOR": "PA", "A-P": "AP", "P-A": "PA", "AP_HORIZONTAL": "AP"}
_SAME_SEX = {"FEMALE": "F", "GIRL": "F", "WOMAN": "F", "MALE": "M", "BOY": "M", "MAN": "M", "OTHER": "O"}


def normalised_view(view: str) -> str:
    """View Position, upper case, without what follows its first word (`AP SUPINE`), in its short form."""
    word = view.strip().upper().split(" ")[0]
    return _SAME_VIEW.get(word, word)


def normalised_sex(word: str) -> str:
    """Sex as DICOM headers write it, F, M or O, from a table's word; another word as it is, upper case."""
    found = word.strip().upper()
    return _SAME_SEX.get(found, found)
