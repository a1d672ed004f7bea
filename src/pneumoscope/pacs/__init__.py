"""A DICOM node: radiographs that a PACS sends are answered with DICOM objects in the same study."""
