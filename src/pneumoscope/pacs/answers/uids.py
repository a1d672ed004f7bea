"""Identifiers that are the same whenever the same image is answered by the same bundle: what is sent again is no duplicate."""

from uuid import UUID, uuid5

# Made once for this project; names below are hashed within it.
_NAMESPACE = UUID("5f0c9a1e-7d52-4b1c-9c1d-6a3a0f6b8c57")


def stable_uuid(*names: str) -> UUID:
    """UUID (version 5) that follows from names."""
    return uuid5(_NAMESPACE, "\0".join(names))


def stable_uid(*names: str) -> str:
    """DICOM identifier that follows from names, at most 44 characters (PS3.5, section B.2)."""
    return f"2.25.{stable_uuid(*names).int}"
