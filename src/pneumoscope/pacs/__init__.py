"""A DICOM node: radiographs that a PACS sends are answered with DICOM objects in the same study."""

# Queue in the folder of a node.
QUEUE_FILE = "queue.sqlite"
# Manufacturer in the header of every answer, by which the node knows its own.
MANUFACTURER = "The pneumoscope maintainers"
# Kinds of answers: structured report, secondary capture and presentation state, which DICOM carries; and FHIR.
KINDS = ("sr", "sc", "gsps")
FHIR = "fhir"
