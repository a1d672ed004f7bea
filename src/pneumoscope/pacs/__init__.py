"""A DICOM node: radiographs that a PACS sends are answered with DICOM objects in the same study."""

# Queue in the folder of a node.
QUEUE_FILE = "queue.sqlite"
# Manufacturer in the header of every answer.
MANUFACTURER = "The pneumoscope maintainers"
# Kinds of answers: structured report, secondary capture and presentation state, which DICOM carries; and FHIR.
KINDS = ("sr", "sc", "gsps")
FHIR = "fhir"


def is_own(manufacturer: str) -> bool:
    """Whether an object of some manufacturer is one of this project's answers, which a PACS may send back."""
    return manufacturer.strip() == MANUFACTURER
