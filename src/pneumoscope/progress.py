"""Progress as two plain functions, so that no stage knows who draws it."""

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called with the number done and the number in all."""

Report = Callable[[str], Progress]
"""Called with the name of what begins; gives the function that follows it."""


def silent(_: str) -> Progress:
    """Follows nothing."""
    return lambda done, total: None
