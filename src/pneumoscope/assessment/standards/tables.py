"""Tables of a standard: each item with what is stated, and with who fills what is missing."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from pneumoscope.assessment.standards.catalogue import FactDefinition, Item, Standard, fact_definitions
from pneumoscope.assessment.standards.statement import Statement
from pneumoscope.assessment.standards.statements import Facts


class Status(StrEnum):
    """Status of an item."""

    FILLED = "filled"
    PARTLY = "partly filled"
    EMPTY = "empty"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True)
class FilledItem:
    """Item with what is known of it.

    Attributes:
        item: Item of the standard.
        statements: Statements, in the order of the item's facts.
        missing: Facts that no statement settles.
    """

    item: Item
    statements: tuple[Statement, ...]
    missing: tuple[FactDefinition, ...]

    @property
    def status(self) -> Status:
        """Status: partly filled where some facts are known and others are missing."""
        known = [statement for statement in self.statements if statement.applies]
        if self.missing:
            return Status.PARTLY if known else Status.EMPTY
        return Status.FILLED if known else Status.NOT_APPLICABLE


@dataclass(frozen=True)
class FilledStandard:
    """Standard with what is known of each item.

    Attributes:
        standard: Standard.
        facts: Facts that it was filled from.
        items: Items in the standard's order.
    """

    standard: Standard
    facts: Facts
    items: tuple[FilledItem, ...]

    @property
    def counts(self) -> Mapping[Status, int]:
        """Number of items by status, of every status."""
        found = Counter(item.status for item in self.items)
        return {status: found[status] for status in Status}

    @property
    def to_fill(self) -> Mapping[str, int]:
        """Number of missing facts by who fills them, the most first."""
        missing = {fact.name: fact.who for item in self.items for fact in item.missing}
        return dict(Counter(missing.values()).most_common())


def fill_standard(standard: Standard, facts: Facts) -> FilledStandard:
    """Fill the items of a standard with the facts on a bundle."""
    definitions = fact_definitions()
    items = tuple(
        FilledItem(
            item,
            tuple(statement for name in item.facts for statement in facts.statements.get(name, ())),
            tuple(
                definitions[name]
                for name in item.facts
                if not any(statement.settles for statement in facts.statements.get(name, ()))
            ),
        )
        for item in standard.items
    )
    return FilledStandard(standard, facts, items)
