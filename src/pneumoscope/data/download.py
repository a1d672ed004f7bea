"""Download of the published archive: resumed, checked against the publisher's hash, unpacked whole or not at all.

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

# The publisher's list of files gives the address and the SHA-256 of each.
LISTING_URL = "https://data.mendeley.com/public-api/datasets/rscbjbr9sj/files?folder_id=root&version=2"
ARCHIVE_NAME = "ChestXRay2017.zip"


def downloaded_folder() -> Path:
    """Path of the unpacked archive in the cache, whether or not it exists."""
    return paths.cache_directory() / "chest_xray"


def download_archive(destination: Path | None = None, listing_url: str = LISTING_URL, report: Report = silent) -> Path:
    """Download and unpack the published archive.

    Args:
        destination: Folder to create; the cache's where None. An existing one is returned unchanged.
        listing_url: Address of the publisher's list of files.
        report: Progress of the stages.

    Returns:
        Folder with train and test.

    Raises:
        DownloadError: No network, a wrong hash, or a full disk. The part downloaded so far is kept for the next try.
    """
    folder = destination or downloaded_folder()
    if folder.is_dir() and any(folder.iterdir()):
        return folder
    archive = folder.with_name(ARCHIVE_NAME)
    fetch(_look_up(listing_url), archive, report(f"downloading {ARCHIVE_NAME} (MB)"))
    _unpack(archive, folder, report("films unpacked"))
    archive.unlink()
    return folder


def _look_up(listing_url: str) -> Download:
    """Address and hash of the archive, from the publisher's list of files."""
    try:
        with open_address(listing_url, 0) as response:
            files = json.load(response)
        details = next(file["content_details"] for file in files if file["filename"] == ARCHIVE_NAME)
        return Download(details["download_url"], "sha256", details["sha256_hash"])
    except (OSError, http.client.HTTPException) as error:
        raise DownloadError(
            f"cannot reach {listing_url.split('?')[0]}: {reason_of(error)}; "
            "check the network, or name a folder with the films by --data"
        ) from error
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        raise DownloadError(
            f"expected {ARCHIVE_NAME} in the publisher's list of files, found none: "
            "download it by hand (doi 10.17632/rscbjbr9sj), unpack it and name the folder by --data"
        ) from error


def _unpack(archive: Path, folder: Path, progress: Progress) -> None:
    """Unpack train and test into `folder`, whole or not at all."""
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
        raise DownloadError(f"cannot unpack {archive}: {reason_of(error)}; free some space and try again") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
