"""Progress callbacks, independent of how progress is displayed."""

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Callback with the number of finished items and their total."""

Report = Callable[[str], Progress]
"""Callback with the name of a stage that begins; returns the progress callback of the stage."""


def silent(_: str) -> Progress:
    """Ignore progress."""
    return lambda done, total: None
