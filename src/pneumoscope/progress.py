"""Progress callbacks, independent of how progress is displayed."""

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Callback with the number of finished items and their total."""

Report = Callable[[str], Progress]
"""Callback with the name of a stage that begins; returns the progress callback of the stage."""


def one(report: Report, name: str) -> Callable[[], None]:
    """Begin a stage of one part; returns the function that ends it."""
    follow = report(name)
    return lambda: follow(1, 1)


def ignored(done: int, total: int) -> None:
    """Ignore the progress of a stage."""


def silent(_: str) -> Progress:
    """Ignore progress."""
    return ignored
