"""A DICOM node: radiographs that a PACS sends are answered with DICOM objects in the same study."""

# Queue in the folder of a node.
QUEUE_FILE = "queue.sqlite"
# Senders and destinations that are no AE.
DICOMWEB, FOLDER, FHIR = "dicomweb", "folder", "fhir"
# Manufacturer in the header of every answer.
MANUFACTURER = "The pneumoscope maintainers"
# Kinds of answers: structured report, secondary capture and presentation state, which DICOM carries.
KINDS = ("sr", "sc", "gsps")


def is_own(manufacturer: str) -> bool:
    """Whether an object of some manufacturer is one of this project's answers, which a PACS may send back."""
    return manufacturer.strip() == MANUFACTURER
