"""Catalogue of the standards' items, and of the facts that report them, from the TOML files of this package."""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

STANDARDS = ("claim", "stard-ai", "tripod-ai", "model-card")
_EVALUATE = "pneumoscope evaluate --bundle, then --evaluation report.json here"
_CONFIGURE = "[detector] of its configuration, or the options of its export"


@dataclass(frozen=True)
class Item:
    """Item of a standard.

    Attributes:
        number: Number in the standard, with the letter of a sub-item.
        section: Section of the standard.
        topic: Topic in our own words.
        facts: Names of the facts that report it; all of them are needed.
    """

    number: str
    section: str
    topic: str
    facts: tuple[str, ...]


@dataclass(frozen=True)
class Standard:
    """Reporting standard.

    Attributes:
        key: Name on the command line and of its files.
        name: Short name.
        title: Full title.
        citation: Authors, journal and year.
        doi: Digital object identifier.
        numbering: Source of numbers and order, and what of it is not verified.
        items: Items in the standard's order.
    """

    key: str
    name: str
    title: str
    citation: str
    doi: str
    numbering: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class FactDefinition:
    """Definition of a fact.

    Attributes:
        name: Name.
        label: Description, a noun phrase.
        origin: `bundle`, `evaluation`, `software` or `people`.
        who: Who fills it where it is missing.
        where: Place where it is filled.
        group: Table of the facts file that holds it; empty for what people do not state.
        ask: Question to those who know it; empty likewise.
    """

    name: str
    label: str
    origin: str
    who: str
    where: str
    group: str = ""
    ask: str = ""


def _table(name: str) -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath(f"{name}.toml").read_text(encoding="utf-8"))


@cache
def load_standard(key: str) -> Standard:
    """Load a standard by its key, one of `STANDARDS`."""
    table = _table(key)
    items = tuple(
        Item(item["number"], section["name"], item["topic"], tuple(item["facts"]))
        for section in table.pop("section")
        for item in section["items"]
    )
    return Standard(**table, items=items)


@cache
def fact_definitions() -> dict[str, FactDefinition]:
    """Definition of every fact, by name, in the order of `facts.toml`."""
    table = _table("facts")
    who = table["who"]
    derived = {
        "bundle": (who["maker"], _CONFIGURE),
        "evaluation": (who["evaluator"], _EVALUATE),
        "software": (who["maker"], "pneumoscope itself"),
    }
    found = {
        name: FactDefinition(name, label, origin, *derived[origin])
        for origin in derived
        for name, label in table[origin].items()
    }
    for group, facts in table["people"].items():
        for name, fact in facts.items():
            place = " or ".join([*filter(None, [fact.get("instead")]), f"{group}.{name} of the facts file"])
            ask = fact["ask"] + (f" Leave it empty where there is {fact['instead']}." if "instead" in fact else "")
            found[name] = FactDefinition(name, fact["label"], "people", who[fact["who"]], place, group, ask)
    return found


@cache
def items_of_facts() -> dict[str, tuple[str, ...]]:
    """Items that a fact reports, by its name, such as `CLAIM 2024 44`."""
    standards = [load_standard(key) for key in STANDARDS]
    return {
        name: tuple(
            f"{standard.name} {', '.join(numbers)}"
            for standard in standards
            if (numbers := [item.number for item in standard.items if name in item.facts])
        )
        for name in fact_definitions()
    }
