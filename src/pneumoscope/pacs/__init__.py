"""A DICOM node: radiographs that a PACS sends are answered with DICOM objects in the same study."""

# Queue in the folder of a node.
QUEUE_FILE = "queue.sqlite"
# Senders and destinations that are no AE.
DICOMWEB, FOLDER = "dicomweb", "folder"
# Manufacturer in the header of every answer, by which the node knows its own.
MANUFACTURER = "The pneumoscope maintainers"
