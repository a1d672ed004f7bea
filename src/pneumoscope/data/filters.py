"""Filters: which images of a data set are used, by age, view and sex of the patient."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from pneumoscope.data.ages import age_in_years
from pneumoscope.data.groups import normalised_sex, normalised_view
from pneumoscope.errors import ConfigError

_AGES = re.compile(r"(\d{1,3})(-)?(\d{1,3})?")
_SEXES = ("F", "M", "O")


@dataclass(frozen=True)
class ImageFilters:
    """Ages, views and sexes of the images that are used; all images where empty.

    Attributes:
        ages: Least and greatest age in completed years, both included; None as the greatest for no limit; None for all ages.
        views: View positions in their short form, such as PA; all where empty.
        sexes: Sexes out of F, M and O; all where empty.
    """

    ages: tuple[int, int | None] | None = None
    views: tuple[str, ...] = ()
    sexes: tuple[str, ...] = ()

    @classmethod
    def of(cls, age: str = "", view: str = "", sex: str = "") -> Self:
        """Filters of options such as `1-5`, `18-` or `3`, of `PA,AP` and of `F`; an empty one takes all.

        Raises:
            ConfigError: Ages or sexes of another form.
        """
        sexes = tuple(normalised_sex(each) for each in _listed(sex))
        if unknown := [each for each in sexes if each not in _SEXES]:
            raise ConfigError(f"expected --sex out of F, M and O, found {unknown[0]}: name these, such as --sex F")
        return cls(_ages(age) if age.strip() else None, tuple(normalised_view(each) for each in _listed(view)), sexes)

    def __bool__(self) -> bool:
        return self != ImageFilters()

    def __str__(self) -> str:
        return " ".join(f"{option} {value}" for option, value in self.options.items())

    @property
    def options(self) -> dict[str, str]:
        """Options of the command line that say these filters, with their values."""
        youngest, oldest = self.ages or (0, None)
        ages = f"{youngest}-{'' if oldest is None else oldest}" if self.ages else ""
        named = {"--age": ages, "--view": ",".join(self.views), "--sex": ",".join(self.sexes)}
        return {option: value for option, value in named.items() if value}

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that these filters read, out of `age`, `sex` and `view`."""
        return tuple(option.removeprefix("--") for option in self.options)

    def keeps(self, column: str, value: str) -> bool | None:
        """Whether an image with a value in one of `columns` is used; None where the value is unknown."""
        if column == "age":
            years = age_in_years(value)
            youngest, oldest = self.ages or (0, None)
            return None if years is None else youngest <= years and (oldest is None or years < oldest + 1)
        found = normalised_view(value) if column == "view" else normalised_sex(value)
        return (found in (self.views if column == "view" else self.sexes)) if found else None

    def outcome(self, groups: Mapping[str, str]) -> str:
        """Reason for which an image is left out, `age unknown` or `other age`; empty text where it is used."""
        for column in self.columns:
            kept = self.keeps(column, groups.get(column, ""))
            if not kept:
                return f"{column} unknown" if kept is None else f"other {column}"
        return ""


def _listed(text: str) -> list[str]:
    return [each.strip() for each in text.split(",") if each.strip()]


def _ages(text: str) -> tuple[int, int | None]:
    found = _AGES.fullmatch(text.strip())
    youngest = int(found[1]) if found else 0
    oldest = None if found and found[2] and not found[3] else int(found[3] or found[1]) if found else -1
    if found is None or (oldest is not None and oldest < youngest):
        raise ConfigError(f"expected --age as years FROM-TO, found {text}: such as --age 1-5 or --age 18-")
    return youngest, oldest
