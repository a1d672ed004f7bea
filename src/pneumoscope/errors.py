"""Exceptions of pneumoscope, as one tree.

    PneumoscopeError            base class; the command line prints the message as one line, exit code 1
    ├── ConfigError             a setting or configuration key is unknown or out of range
    ├── InputError              an argument of a function is outside its documented range
    ├── DataError               the images, their table or their layout
    │   ├── UnreadableImage     one file is not a whole image
    │   │   └── UnsupportedDicom  one DICOM object is not a single grey frame that can be decoded
    │   ├── LeakageError        a patient or an image is in two splits
    │   ├── DownloadError       a file could not be downloaded completely
    │   └── StorageError        an address cannot be reached, read or written at the moment
    ├── WeightsError            a weight file does not fit the network
    ├── BundleError             a bundle is missing, damaged, altered or of a newer format
    ├── RunError                a run folder cannot be started, resumed or read
    └── ServiceError            a service refuses a request, or does not answer

A message states in one line what was expected, what was found and what to do.
"""

from collections.abc import Iterable
from difflib import get_close_matches


def listed(names: Iterable[str], most: int = 20) -> str:
    """Names joined for a message, the first `most`; names from files are escaped where they are not printable."""
    shown = [name if name.isprintable() else ascii(name) for name in names]
    more = [f"{len(shown) - most:,} more"] if len(shown) > most else []
    return ", ".join([*shown[:most], *more])


def counted(number: int, noun: str) -> str:
    """Number with its noun for a message, in the plural, which ends in s, unless the number is one."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Question for the known name that is nearest to a wrong one, for a message; empty where none is near."""
    near = get_close_matches(name, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


class PneumoscopeError(Exception):
    """Any error that a user can act on."""


class ConfigError(PneumoscopeError):
    """A setting or configuration key is unknown or out of range."""


class InputError(PneumoscopeError):
    """An argument is outside its documented range."""


class DataError(PneumoscopeError):
    """The images, their table or their layout are not as expected."""


class UnreadableImage(DataError):
    """One file is not a whole, supported image."""


class UnsupportedDicom(UnreadableImage):
    """One DICOM object is not a single grey frame that can be decoded."""


class LeakageError(DataError):
    """A patient or an image is in two splits."""


class DownloadError(DataError):
    """A file could not be downloaded completely."""


class StorageError(DataError):
    """An address cannot be reached, read or written at the moment; what was written before is kept."""


class WeightsError(PneumoscopeError):
    """A weight file is missing or does not fit the network."""


class BundleError(PneumoscopeError):
    """A bundle is missing, damaged, altered or of a newer format."""


class RunError(PneumoscopeError):
    """A run folder cannot be started, resumed or read."""


class ServiceError(PneumoscopeError):
    """A service refuses a request, or does not answer; raised by `pneumoscope.client`.

    Attributes:
        code: Kind of problem, as `GET /v1/problems` lists them; `unreachable` where nothing answers, `unexpected` where
            something else than the service does.
        title: Short description of the kind.
        detail: Description of this case.
        advice: Remedy for the caller.
    """

    def __init__(self, code: str, title: str, detail: str, advice: str) -> None:
        """Describes the problem."""
        super().__init__(code, title, detail, advice)
        self.code, self.title, self.detail, self.advice = code, title, detail, advice

    def __str__(self) -> str:
        return f"{self.detail}: {self.advice}"
