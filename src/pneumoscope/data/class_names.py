"""Names of classes and columns: those that are plain, and those that a data set has of its own."""

import shlex
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from pneumoscope.data.filters import ImageFilters
from pneumoscope.errors import ConfigError, DataError, did_you_mean, listed
from pneumoscope.types import Etiology, Finding

# Classes that are not known which a suggested class map names.
_MOST_MAPPED = 5
CLASS_WORDS = {
    "normal": (Finding.NORMAL, Etiology.NONE),
    "pneumonia": (Finding.PNEUMONIA, Etiology.UNKNOWN),
    "bacteria": (Finding.PNEUMONIA, Etiology.BACTERIAL),
    "bacterial": (Finding.PNEUMONIA, Etiology.BACTERIAL),
    "virus": (Finding.PNEUMONIA, Etiology.VIRAL),
    "viral": (Finding.PNEUMONIA, Etiology.VIRAL),
}
# Names of classes whose meaning is plain; what they are taken for is shown before anything runs.
_PLAIN_WORDS = {
    **dict.fromkeys(
        ("healthy", "no finding", "no_finding", "no findings", "no pneumonia", "control"), CLASS_WORDS["normal"]
    ),
    **dict.fromkeys(("sick", "pneumonic", "lung opacity", "covid", "covid-19", "covid19"), CLASS_WORDS["pneumonia"]),
    **dict.fromkeys(("bacterial pneumonia", "pneumonia bacterial", "bacterial_pneumonia"), CLASS_WORDS["bacterial"]),
    **dict.fromkeys(("viral pneumonia", "pneumonia viral", "viral_pneumonia"), CLASS_WORDS["viral"]),
}
ClassWords = Mapping[str, tuple[Finding, Etiology]]
USUAL_WORDS: ClassWords = CLASS_WORDS | _PLAIN_WORDS


@dataclass(frozen=True)
class DataNames:
    """Names that a data set has for its classes and columns, where these are not plain, and which of its images are used.

    Attributes:
        classes: Name of a class in the data set to the name of a class here, such as normal or pneumonia; images of all other
            classes are left out. The usual names where empty.
        columns: `path`, `class` or `patient` to the name of the column in the table.
        filters: Ages, views and sexes of the images that are used.
    """

    classes: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    filters: ImageFilters = field(default_factory=ImageFilters)

    @classmethod
    def of(cls, class_map: str, columns: Mapping[str, str] | None = None, filters: ImageFilters | None = None) -> Self:
        """Names of a class map such as `No Finding=normal,Pneumonia=pneumonia`, and of columns; an empty name counts for none.

        Raises:
            ConfigError: A class map of another form.
        """
        pairs = [pair.rpartition("=") for pair in class_map.split(",") if pair.strip()]
        if any(not name.strip() or not to.strip() for name, _, to in pairs):
            raise ConfigError(
                f"expected a class map NAME=CLASS,NAME=CLASS, found {class_map}: such as 'No Finding=normal,Pneumonia=pneumonia'"
            )
        return cls(
            {name.strip(): to.strip() for name, _, to in pairs},
            {column: name for column, name in (columns or {}).items() if name},
            filters or ImageFilters(),
        )

    def words(self, known: ClassWords) -> ClassWords:
        """Names of the data set, lower case, to classes, out of the known ones.

        Raises:
            DataError: A class that is not known.
        """
        if unknown := sorted({name for name in self.classes.values() if name.lower() not in known}):
            raise DataError(
                f"expected classes out of {', '.join(main_names(known))} in the class map, found {listed(unknown)}: name these"
            )
        return {name.lower(): known[to.lower()] for name, to in self.classes.items()} or known

    def check_found(self, found: Collection[str], root: Path, shown: Iterable[str] = ()) -> None:
        """Check that a data set has the classes of the class map.

        Args:
            found: Names that may be classes, lower case.
            root: Data set.
            shown: Those of them that the message lists; all where empty.

        Raises:
            DataError: A class of the map that is not among those found.
        """
        if absent := sorted(name for name in self.classes if name.lower() not in found):
            there = listed(sorted(set(filter(None, shown)) or found)) or "no class"
            raise DataError(
                f"expected the classes of the class map in {root}, found {there} and none named {listed(absent)}"
                f"{did_you_mean(absent[0].lower(), found)}: correct the class map"
            )


def suggested_class_map(known: Iterable[str], unknown: Iterable[str]) -> str:
    """Option --class-map for a message, with CLASS for what the user has to say of classes that are not known; empty where it can name none of these.

    A class map cannot name all: `DataNames.of` separates at commas, and leaves out spaces at either end.
    """
    named = [name for name in unknown if name and "," not in name and name == name.strip()]
    if not named:
        return ""
    pairs = [f"{name}={name}" for name in known] + [f"{name}=CLASS" for name in named[:_MOST_MAPPED]]
    return f"--class-map {shlex.quote(','.join([*pairs, *(['...'] if len(named) > _MOST_MAPPED else [])]))}"


def main_names(words: ClassWords) -> list[str]:
    """Class names for a message, without the further ones of the usual classes."""
    return [word for word in words if word not in _PLAIN_WORDS]
