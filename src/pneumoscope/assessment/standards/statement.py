"""Statement on a fact, with its source."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Statement:
    """Statement on a fact.

    Attributes:
        fact: Name of the fact.
        text: Statement, one paragraph; the reason where the fact does not apply.
        source: Source, such as `bundle: training.config`.
        applies: Whether the fact applies.
        settles: Whether nothing is left to state; otherwise people still fill the fact.
    """

    fact: str
    text: str
    source: str
    applies: bool = True
    settles: bool = True


def one_line(text: str) -> str:
    """Text with every run of white space as one space."""
    return " ".join(text.split())


def sentence(text: str) -> str:
    """Text with a capital at its start."""
    return text[:1].upper() + text[1:]
