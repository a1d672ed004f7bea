"""Routing: which of the objects that arrive are for the detector."""

import re
from dataclasses import dataclass
from enum import StrEnum

from pneumoscope.data.groups import normalised_view
from pneumoscope.errors import ConfigError
from pneumoscope.types import ImageHeader

_AGES = re.compile(r"(\d{1,3})-(\d{1,3})")
# Value of a condition for what a header leaves out.
_NOTHING = "NONE"


class Action(StrEnum):
    """Fate of an object: `analyse` it, `accept` it without an answer, or `refuse` it."""

    ANALYSE = "analyse"
    ACCEPT = "accept"
    REFUSE = "refuse"


@dataclass(frozen=True)
class Rule:
    """Rule of the routing; it matches an object that has one of the values of each of its conditions.

    Attributes:
        action: Fate of the objects that match.
        modality: Modalities, such as CR and DX; any where empty. NONE is for an object without one, here and below.
        body_part: Values of Body Part Examined; any where empty.
        view: View positions, such as AP and PA; any where empty.
        sender: AE titles of senders, `dicomweb` or `folder`; any where empty.
        age: Completed years, such as 1-5; any where empty. An object without an age does not match.

    Raises:
        ConfigError: Another range of ages.
    """

    action: Action = Action.ANALYSE
    modality: tuple[str, ...] = ()
    body_part: tuple[str, ...] = ()
    view: tuple[str, ...] = ()
    sender: tuple[str, ...] = ()
    age: str = ""

    def __post_init__(self) -> None:
        if self.age and (self._ages is None or self._ages[0] > self._ages[1]):
            raise ConfigError(f"expected rules.age such as 1-5, found {self.age!r}: correct it")

    @property
    def _ages(self) -> tuple[int, int] | None:
        found = _AGES.fullmatch(self.age)
        return (int(found[1]), int(found[2])) if found else None

    def matches(self, header: ImageHeader, sender: str) -> bool:
        """Whether an object with this header, from this sender, is one of those that the rule is for."""
        conditions = (
            (self.modality, header.modality),
            (self.body_part, header.body_part),
            (self.view, normalised_view(header.view)),
            (self.sender, sender),
        )
        if not all(_is_one_of(found, wanted) for wanted, found in conditions):
            return False
        years = header.age_years
        return self._ages is None or (years is not None and self._ages[0] <= years < self._ages[1] + 1)


def _is_one_of(found: str, wanted: tuple[str, ...]) -> bool:
    return not wanted or (found or _NOTHING).upper() in {each.upper() for each in wanted}


# Radiographs of the chest, and those whose header does not say of what they are: the input guard looks at these.
USUAL_RULES = (
    Rule(
        modality=("CR", "DX"),
        body_part=("CHEST", "THORAX", "TORAX", "LUNG", "LUNGS", "RIB", "RIBS", "UNKNOWN", _NOTHING),
    ),
)


def route(rules: tuple[Rule, ...], header: ImageHeader, sender: str) -> Action:
    """Action of the first rule that matches an object; it is accepted without an answer where none does."""
    return next((rule.action for rule in rules if rule.matches(header, sender)), Action.ACCEPT)
