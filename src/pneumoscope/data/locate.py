"""Finds the data set: named, in the environment, in the working directory, in the cache, or at its publisher."""

from dataclasses import dataclass
from pathlib import Path

from pneumoscope import paths
from pneumoscope.data.download import download_archive, downloaded_folder
from pneumoscope.data.phantom import write_phantoms
from pneumoscope.errors import DataError, DownloadError
from pneumoscope.progress import Report, silent


@dataclass(frozen=True)
class Location:
    """A data set's place.

    Attributes:
        root: Folder, table or archive.
        how: How it was found, for the user.
        synthetic: Whether its images are phantoms.
    """

    root: Path
    how: str
    synthetic: bool = False


def locate(named: Path | None, report: Report = silent, download: bool = True) -> Location:
    """The data set to use: `named`, else PNEUMOSCOPE_DATA, else data/chest_xray* here, else the cache, else a download.

    Raises:
        DataError: A place was named and nothing is there.
        DownloadError: No data is at hand and none can be had.
    """
    for place, how in (
        (named, "named by --data"),
        (paths.data_from_environment(), "named by PNEUMOSCOPE_DATA"),
    ):
        if place is not None:
            if not place.exists():
                raise DataError(f"expected a data set at {place} ({how}), found nothing there: check the path")
            return Location(place, how)
    for candidate in sorted(Path("data").glob("chest_xray*")):
        return Location(candidate, "found in the working directory")
    if downloaded_folder().is_dir():
        return Location(downloaded_folder(), "found in the cache")
    if not download:
        raise DownloadError("expected a data set, found none: name one by --data or run `pneumoscope data download`")
    return Location(download_archive(report=report), "downloaded from its publisher")


def locate_or_make_phantoms(named: Path | None, report: Report = silent) -> tuple[Location, str]:
    """`locate`; where nothing is at hand and nothing can be had, phantom images.

    Returns:
        The location, and why phantoms had to do (empty where they had not).
    """
    try:
        return locate(named, report), ""
    except DownloadError as error:
        folder = paths.cache_directory() / "phantoms"
        write_phantoms(folder)
        return Location(folder, "generated", synthetic=True), str(error)
