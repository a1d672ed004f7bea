"""Location of the data set: an option, the environment, the working directory, the cache, or a download."""

from dataclasses import dataclass
from pathlib import Path

from pneumoscope import paths
from pneumoscope.data.any_classes import open_any_classes
from pneumoscope.data.download import download_archive, downloaded_folder
from pneumoscope.data.layouts import absent_advice
from pneumoscope.data.phantom import is_phantom_folder, write_phantoms
from pneumoscope.data.sources import DataNames, Source, open_source, subsample
from pneumoscope.errors import DataError, DownloadError
from pneumoscope.progress import Report, silent
from pneumoscope.types import BINARY


@dataclass(frozen=True)
class Location:
    """Location of a data set.

    Attributes:
        root: Folder, table or archive.
        origin: Explanation for the user of how it was found.
        synthetic: Whether its images are phantoms.
        limit: Approximate number of images that are used, drawn evenly from every class and split; all where None.
        names: Names that it has for classes and columns, and filters; plain names are known where None.
    """

    root: Path
    origin: str
    synthetic: bool = False
    limit: int | None = None
    names: DataNames | None = None

    def open(self, positive: str = BINARY.positive, negative: str = "") -> Source:
        """List its images; arguments and errors as for `sources.open_source`."""
        source = open_source(self.root, positive, negative, self.names)
        return source if self.limit is None else subsample(source, self.limit)

    def open_any_classes(self) -> Source:
        """List its images with classes of any names; errors as for `any_classes.open_any_classes`."""
        return open_any_classes(self.root, self.names)


def locate(named: Path | None, report: Report = silent, download: bool = True) -> Location:
    """Find the data set: `named`, else PNEUMOSCOPE_DATA, else ./data/chest_xray*, else the cache, else a download.

    Args:
        named: Path given by the user, or None.
        report: Progress of a download.
        download: Whether to download the data set where it is not found.

    Raises:
        DataError: Nothing at a path that was named.
        DownloadError: No data set found, and none downloaded.
    """
    for path, origin in (
        (named, "named by --data"),
        (paths.data_from_environment(), "named by PNEUMOSCOPE_DATA"),
    ):
        if path is not None:
            if not path.exists():
                raise DataError(absent_advice(path, origin))
            return Location(path, origin, is_phantom_folder(path))
    for candidate in sorted(Path("data").glob("chest_xray*")):
        return Location(candidate, "found in the working directory")
    if downloaded_folder().is_dir():
        return Location(downloaded_folder(), "found in the cache")
    if not download:
        raise DownloadError("expected a data set, found none: name one by --data or run `pneumoscope data download`")
    return Location(download_archive(report=report), "downloaded from its publisher")


def locate_or_make_phantoms(named: Path | None, report: Report = silent) -> tuple[Location, str]:
    """Find the data set as `locate` does; where none is found or downloaded, write phantom images.

    Returns:
        Location, and the reason for phantoms (empty for a data set that was found).
    """
    try:
        return locate(named, report), ""
    except DownloadError as error:
        folder = paths.cache_directory() / "phantoms"
        write_phantoms(folder)
        return Location(folder, "generated", synthetic=True), str(error)
