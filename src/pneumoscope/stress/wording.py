"""Lists and names in words, for verdict, pages and figures."""

from collections.abc import Iterable


def in_a_row(words: Iterable[str], last: str = "and") -> str:
    """Words with commas, and `and` before the last."""
    *first, end = words
    return f"{', '.join(first)} {last} {end}" if first else end


def shortened(name: str, longest: int) -> str:
    """Name of at most so many letters: of a longer one beginning and end, which tell files and models apart."""
    if len(name) <= longest:
        return name
    end = (longest - 1) // 2
    return f"{name[: longest - 1 - end]}\u2026{name[-end:]}"
