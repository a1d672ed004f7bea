"""The published archive: fetched with resume, checked against the publisher's own hash, unpacked whole or not at all.

Kermany, Zhang and Goldbaum (2018), Mendeley Data, doi 10.17632/rscbjbr9sj, version 2, ChestXRay2017.zip, CC BY 4.0.
"""

import http.client
import json
import shutil
import zipfile
from pathlib import Path

from pneumoscope import paths
from pneumoscope.downloading import Download, fetch, open_address, reason_of
from pneumoscope.errors import DownloadError
from pneumoscope.progress import Progress, Report, silent

# The publisher's list of files names, for each, where it lies and its SHA-256.
LISTING_URL = "https://data.mendeley.com/public-api/datasets/rscbjbr9sj/files?folder_id=root&version=2"
ARCHIVE_NAME = "ChestXRay2017.zip"
IMAGE_COUNT = 5856


def downloaded_folder() -> Path:
    """Where the unpacked archive lies, or would."""
    return paths.cache_directory() / "chest_xray"


def download_archive(destination: Path | None = None, listing_url: str = LISTING_URL, report: Report = silent) -> Path:
    """Fetches and unpacks the published archive.

    Args:
        destination: The folder to make; the cache's where None. One that is there is taken as it is.
        listing_url: The publisher's list of files.
        report: Told of progress.

    Returns:
        The folder with train and test.

    Raises:
        DownloadError: No network, a wrong hash, or a full disk. What has come so far is kept for the next try.
    """
    folder = destination or downloaded_folder()
    if folder.is_dir() and any(folder.iterdir()):
        return folder
    wanted = _look_up(listing_url)
    archive = folder.with_name(ARCHIVE_NAME)
    fetch(wanted, archive, report(f"downloading {ARCHIVE_NAME} (MB)"))
    _unpack(archive, folder, report("films unpacked"))
    archive.unlink()
    return folder


def _look_up(listing_url: str) -> Download:
    try:
        with open_address(listing_url, 0) as answer:
            files = json.load(answer)
        details = next(file["content_details"] for file in files if file["filename"] == ARCHIVE_NAME)
        return Download(details["download_url"], "sha256", details["sha256_hash"])
    except (OSError, http.client.HTTPException) as error:
        raise DownloadError(
            f"expected to reach {listing_url.split('?')[0]}, found {reason_of(error)}: "
            "check the network, or name a folder with the films by --data"
        ) from error
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        raise DownloadError(
            f"expected {ARCHIVE_NAME} in the publisher's list of files, found another answer: "
            "fetch it by hand (doi 10.17632/rscbjbr9sj), unpack it and name it by --data"
        ) from error


def _unpack(archive: Path, folder: Path, progress: Progress) -> None:
    """Unpacks train and test into `folder`, whole or not at all."""
    temporary = folder.with_name(folder.name + ".unpacking")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as content:
            images = [
                entry
                for entry in content.infolist()
                if entry.filename.lower().endswith((".jpeg", ".jpg")) and "__MACOSX" not in entry.filename
            ]
            for done, entry in enumerate(images, start=1):
                content.extract(entry, temporary)
                progress(done, len(images))
        inner = temporary / "chest_xray"
        (inner if inner.is_dir() else temporary).replace(folder)
    except (OSError, zipfile.BadZipFile) as error:
        raise DownloadError(
            f"expected to unpack {archive}, found {reason_of(error)}: free some space and try again"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
