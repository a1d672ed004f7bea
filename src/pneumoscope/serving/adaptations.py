"""Adaptations of the service's bundle to labelled images that callers send.

begin -> images, in several requests -> start -> a process adapts -> bundle and report, or why there are none

A folder for each:

    ID/adaptation.json      record; of one that was neither ended nor deleted when the service was, all is deleted
    ID/images/              images under safe names, and their table; deleted when the adaptation ends
    ID/bundle.zip, .html    the new bundle, and the report
"""

import csv
import fcntl
import json
import logging
import re
import secrets
import shutil
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import IO, Any

from pneumoscope.bundle import Bundle, load_bundle
from pneumoscope.bundle.manifest import check_class_names
from pneumoscope.data.names import parse_file_name
from pneumoscope.errors import ConfigError, DataError
from pneumoscope.files import as_json, atomic_write, write_json
from pneumoscope.serving.adaptation_process import (
    AdaptationJob,
    AdaptationOutcome,
    AdaptationProcess,
    AdaptationProgress,
)
from pneumoscope.serving.problems import Problem, ProblemError
from pneumoscope.serving.settings import Settings
from pneumoscope.types import BINARY, NamedImage

ID_PATTERN = "^[0-9a-f]{16}$"
# Ended adaptations that are kept until somebody deletes them.
_KEPT = 20
_RECORD, _IMAGES, _TABLE, _LOCK = "adaptation.json", "images", "labels.csv", ".lock"
# The report lies where `adapt_site` writes it; importing that here would load SciPy into the service.
_BUNDLE, _REPORT = "bundle.zip", "bundle.html"
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
_LONGEST_NAME = 100
_log = logging.getLogger("pneumoscope.serving")


class AdaptationState(StrEnum):
    """State of an adaptation."""

    COLLECTING = "collecting"
    RUNNING = "running"
    MADE = "made"
    NOT_MADE = "not_made"
    FAILED = "failed"


class Label(StrEnum):
    """Label of images."""

    NEGATIVE = "negative"
    POSITIVE = "positive"


_UNFINISHED = (AdaptationState.COLLECTING, AdaptationState.RUNNING)


@dataclass(frozen=True)
class AdaptationRecord:
    """Adaptation of the bundle that the service was started with.

    Attributes:
        id: Identifier, 16 hex digits.
        state: State: collecting images, running, made, not made as it is no better than chance, or failed.
        name: Name of the new detector.
        began: Time of the beginning, UTC, ISO 8601.
        classes: Names of the negative and of the positive class.
        parent: SHA-256 of the bundle that is adapted, 64 hex digits.
        negatives: Number of images of the negative class that arrived.
        positives: Number of images of the positive class that arrived.
        stage: Stage of a running adaptation, such as images_described; empty before the first.
        done: Number of finished parts of the stage.
        total: Number of parts of the stage; 0 where unknown.
        problem: Reason of a failure; empty for none.
        sha256: SHA-256 of the new bundle; empty where there is none.
        result: Result as `pneumoscope adapt --json` prints it, with the verdict; null where there is none.
    """

    id: str
    state: AdaptationState
    name: str
    began: str
    classes: tuple[str, str]
    parent: str
    negatives: int = 0
    positives: int = 0
    stage: str = ""
    done: int = 0
    total: int = 0
    problem: str = ""
    sha256: str = ""
    result: dict[str, Any] | None = None


@dataclass(frozen=True)
class AdaptationLimits:
    """Limits of an adaptation.

    Attributes:
        request_images: Largest number of images in a request.
        image_bytes: Size of the largest image, bytes.
        images: Largest number of images of an adaptation.
        bytes: Largest sum of the images of an adaptation, bytes.
    """

    request_images: int
    image_bytes: int
    images: int
    bytes: int


@dataclass
class _Images:
    """Images of the adaptation that collects them.

    Attributes:
        rows: Path in the folder of images, class and patient of each.
        bytes: Bytes of all of them.
    """

    rows: list[tuple[str, str, str]] = field(default_factory=list)
    bytes: int = 0


class Adaptations:
    """Adaptations in a folder, of which one at a time is collecting images or running.

    Records are replaced as a whole: whoever reads one needs no lock.
    """

    def __init__(self, settings: Settings, parent: Bundle) -> None:
        """Opens the folder, and deletes what an earlier service left unfinished in it.

        Raises:
            ConfigError: The folder cannot be written, or another service uses it.
        """
        assert settings.adaptations is not None  # noqa: S101
        self._settings, self._parent, self._folder = settings, parent, settings.adaptations
        self._held = _lock(self._folder)
        self._changing = threading.Lock()
        self._images = _Images()
        self._process: AdaptationProcess | None = None
        self._idle: threading.Timer | None = None
        self._records: dict[str, AdaptationRecord] = {}
        for file in self._folder.glob(f"*/{_RECORD}"):
            if (record := _load(file)) and record.state not in _UNFINISHED:
                self._records[record.id] = record
            elif (file.parent / _BUNDLE).exists():
                _log.warning("%s is left alone: its record is of another version, or damaged", file.parent)
            elif re.fullmatch(ID_PATTERN, file.parent.name):
                shutil.rmtree(file.parent, ignore_errors=True)

    def records(self) -> list[AdaptationRecord]:
        """All adaptations, the newest first."""
        return sorted(self._records.values(), key=lambda record: record.began, reverse=True)

    def record(self, identifier: str) -> AdaptationRecord:
        """One adaptation.

        Raises:
            ProblemError: There is none of this id.
        """
        if (record := self._records.get(identifier)) is None:
            raise ProblemError(Problem.NOT_FOUND, f"expected an adaptation {identifier}, found none")
        return record

    def begin(self, classes: tuple[str, str], name: str) -> AdaptationRecord:
        """Begin an adaptation, which then collects images.

        Args:
            classes: Names of the negative and of the positive class.
            name: Name of the new detector.

        Raises:
            ProblemError: Other names than a bundle may have, or another adaptation is not ended, or too many are kept.
        """
        with self._changing:
            if unfinished := [record for record in self.records() if record.state in _UNFINISHED]:
                detail = f"expected no other adaptation at work, found {unfinished[0].id} {unfinished[0].state}: wait for it, or delete it"
                raise ProblemError(Problem.ADAPTATION_CONFLICT, detail)
            if len(self._records) >= _KEPT:
                detail = f"expected fewer than {_KEPT} adaptations, found {len(self._records)}: delete one"
                raise ProblemError(Problem.ADAPTATION_CONFLICT, detail)
            checked = _checked_classes(classes)
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            record = AdaptationRecord(
                secrets.token_hex(8), AdaptationState.COLLECTING, name, now, checked, self._parent.sha256
            )
            try:
                self._folder_of(record.id).mkdir(mode=0o700)
                (self._folder_of(record.id) / _IMAGES).mkdir()
                self._save(record)
            except (OSError, DataError) as error:
                raise _full(error) from error
            self._images, self._records[record.id] = _Images(), record
            self._wait_for_more(record.id)
        return record

    def add(self, identifier: str, label: Label, images: Sequence[NamedImage]) -> AdaptationRecord:
        """Store images of one class.

        Raises:
            ProblemError: No such adaptation, or it no longer collects, or it or the disk is full.
        """
        with self._changing:
            record = self._collecting(identifier)
            found, size = len(self._images.rows) + len(images), self._images.bytes + sum(len(i.content) for i in images)
            if found > self._settings.adaptation_images or size > self._settings.adaptation_bytes:
                limits = f"{self._settings.adaptation_images} images and {self._settings.adaptation_bytes} bytes"
                raise ProblemError(Problem.ADAPTATION_FULL, f"expected at most {limits}, found {found} and {size}")
            rows = [self._store(record, label, image, number) for number, image in enumerate(images)]
            self._images.rows += rows
            self._images.bytes = size
            counts = {f"{label.value}s": getattr(record, f"{label.value}s") + len(images)}
            self._wait_for_more(identifier)
            return self._replace(record, **counts)

    def start(self, identifier: str) -> AdaptationRecord:
        """Start the process of an adaptation that has collected its images.

        Raises:
            ProblemError: No such adaptation, or it no longer collects, or the disk is full.
        """
        with self._changing:
            record = self._collecting(identifier)
            if not (record.negatives and record.positives):
                detail = f"expected images of both classes, found {record.negatives} negative and {record.positives} positive: add some"
                raise ProblemError(Problem.ADAPTATION_CONFLICT, detail)
            folder = self._folder_of(identifier)
            table = folder / _IMAGES / _TABLE
            try:
                with atomic_write(table) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
                    csv.writer(stream).writerows([("path", "class", "patient"), *self._images.rows])
            except DataError as error:
                raise _full(error) from error
            if self._idle:
                self._idle.cancel()
            # Half of the processes: those that predict are there as well.
            workers = max(1, self._settings.workers // 2)
            job = AdaptationJob(self._parent, table, folder / _BUNDLE, record.classes, record.name, workers)
            try:
                self._process = AdaptationProcess(
                    job,
                    lambda progress: self._follow(identifier, progress),
                    lambda outcome: self._end(identifier, outcome),
                )
            except OSError as error:
                detail = f"expected to start a process, found {error.strerror}: try again later"
                self._wait_for_more(identifier)
                raise ProblemError(Problem.ADAPTATION_CONFLICT, detail) from error
            return self._replace(record, state=AdaptationState.RUNNING)

    def delete(self, identifier: str) -> None:
        """Cancel an adaptation, and delete all of it.

        Raises:
            ProblemError: There is none of this id.
        """
        with self._changing:
            record = self.record(identifier)
            del self._records[identifier]
            process = self._process if record.state is AdaptationState.RUNNING else None
            if record.state is AdaptationState.COLLECTING and self._idle:
                self._idle.cancel()
        if process:
            process.kill()
        shutil.rmtree(self._folder_of(identifier), ignore_errors=True)

    @property
    def limits(self) -> AdaptationLimits:
        """Limits of an adaptation."""
        found = self._settings
        return AdaptationLimits(found.images, found.image_bytes, found.adaptation_images, found.adaptation_bytes)

    def report(self, identifier: str) -> Path:
        """File of the report.

        Raises:
            ProblemError: There is none.
        """
        return self._file(identifier, self._folder_of(identifier) / _REPORT, "a report")

    def bundle_file(self, identifier: str) -> Path:
        """File of the new bundle.

        Raises:
            ProblemError: There is none.
        """
        return self._file(identifier, self._folder_of(identifier) / _BUNDLE, "a bundle")

    def bundle(self, identifier: str) -> Bundle:
        """New bundle.

        Raises:
            ProblemError: There is none.
            BundleError: It is not as it was made.
        """
        return load_bundle(self.bundle_file(identifier))

    def close(self) -> None:
        """Cancel and delete what is not ended, and let go of the folder."""
        for record in self.records():
            if record.state in _UNFINISHED:
                self.delete(record.id)
        self._held.close()

    def _folder_of(self, identifier: str) -> Path:
        return self._folder / identifier

    def _file(self, identifier: str, path: Path, what: str) -> Path:
        record = self.record(identifier)
        if record.state in _UNFINISHED:
            detail = f"expected an adaptation that has ended, found {identifier} {record.state}: come back later"
            raise ProblemError(Problem.ADAPTATION_CONFLICT, detail)
        if not path.is_file():
            raise ProblemError(Problem.NOT_FOUND, f"expected {what} of {identifier}, found none ({record.state})")
        return path

    def _collecting(self, identifier: str) -> AdaptationRecord:
        record = self.record(identifier)
        if record.state is not AdaptationState.COLLECTING:
            detail = f"expected an adaptation that collects images, found {identifier} {record.state}: begin another"
            raise ProblemError(Problem.ADAPTATION_CONFLICT, detail)
        return record

    def _store(self, record: AdaptationRecord, label: Label, image: NamedImage, number: int) -> tuple[str, str, str]:
        """Store an image under a safe name, which keeps what can be kept of its own; path, class and patient of it."""
        base = PurePosixPath(image.name.replace("\\", "/")).name
        name = f"{len(self._images.rows) + number + 1:05}-{_UNSAFE.sub('_', base)[-_LONGEST_NAME:]}"
        try:
            (self._folder_of(record.id) / _IMAGES / name).write_bytes(image.content)
        except OSError as error:
            raise _full(error) from error
        parsed = parse_file_name(PurePosixPath(base))
        return name, record.classes[label is Label.POSITIVE], parsed.patient if parsed else ""

    def _replace(self, record: AdaptationRecord, **changes: Any) -> AdaptationRecord:
        self._records[record.id] = changed = replace(record, **changes)
        return changed

    def _save(self, record: AdaptationRecord) -> None:
        write_json(self._folder_of(record.id) / _RECORD, asdict(record))

    def _follow(self, identifier: str, progress: AdaptationProgress) -> None:
        with self._changing:
            if record := self._records.get(identifier):
                stage = progress.stage.replace(" ", "_")
                self._replace(record, stage=stage, done=progress.done, total=progress.total)

    def _end(self, identifier: str, outcome: AdaptationOutcome) -> None:
        with self._changing:
            if (record := self._records.get(identifier)) is None:  # deleted meanwhile
                return
            state = AdaptationState.MADE if outcome.sha256 else AdaptationState.NOT_MADE
            ended = replace(
                record,
                state=AdaptationState.FAILED if outcome.problem else state,
                problem=outcome.problem,
                sha256=outcome.sha256,
                result=json.loads(as_json(outcome.result)) if outcome.result else None,
            )
            self._tidy(identifier, {_RECORD} if outcome.problem else {_RECORD, _BUNDLE, _REPORT})
            try:
                self._save(ended)
            except DataError:  # such as a full disk: it is known until the service ends
                _log.exception("adaptation %s could not be kept", identifier)
            self._records[identifier] = ended

    def _tidy(self, identifier: str, kept: set[str]) -> None:
        """Delete all but the results: the images, and what an adaptation that failed left."""
        folder = self._folder_of(identifier)
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name not in kept:
                path.unlink(missing_ok=True)

    def _wait_for_more(self, identifier: str) -> None:
        """Delete the adaptation where no request follows, as where its caller has gone."""
        if self._idle:
            self._idle.cancel()
        self._idle = timer = threading.Timer(self._settings.adaptation_seconds, lambda: self._expire(identifier, timer))
        timer.daemon = True
        timer.start()

    def _expire(self, identifier: str, timer: threading.Timer) -> None:
        with self._changing:
            record = self._records.get(identifier)
            # A request that came just before the end has set another timer.
            if self._idle is not timer or record is None or record.state is not AdaptationState.COLLECTING:
                return
            shutil.rmtree(self._folder_of(identifier), ignore_errors=True)
            del self._records[identifier]


def _lock(folder: Path) -> IO[str]:
    """Hold a folder for this process alone, until the file that is returned is closed."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        held = (folder / _LOCK).open("a")
    except OSError as error:
        found = "a file" if folder.is_file() else error.strerror
        raise ConfigError(
            f"expected a folder for adaptations at {folder}, found {found}: name another with --adaptations"
        ) from error
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        held.close()
        raise ConfigError(
            f"expected {folder} to belong to this service alone, found another one using it: name another with --adaptations"
        ) from error
    return held


def _load(file: Path) -> AdaptationRecord | None:
    """Record of an adaptation; None where it is not whole."""
    try:
        table = json.loads(file.read_text(encoding="utf-8"))
        record = AdaptationRecord(**table | {"classes": tuple(table["classes"])})
        return replace(record, state=AdaptationState(record.state)) if record.id == file.parent.name else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _checked_classes(classes: tuple[str, str]) -> tuple[str, str]:
    """Names of two classes; normal and pneumonia in the writing of the detectors that ship.

    Raises:
        ProblemError: Names that a bundle cannot have.
    """
    negative, positive = (name.strip() for name in classes)
    if (negative.lower(), positive.lower()) == BINARY.names:
        return BINARY.negative, BINARY.positive
    try:
        check_class_names((negative, positive))
        if negative.lower() == positive.lower() or BINARY.positive in (negative.lower(), positive.lower()):
            raise ValueError(f"the classes {negative}, {positive}")
    except ValueError as error:
        detail = f"expected normal and pneumonia, or two other names of letters, digits and spaces, found {error}: rename them"
        raise ProblemError(Problem.INVALID_REQUEST, detail) from error
    return negative, positive


def _full(error: OSError | DataError) -> ProblemError:
    return ProblemError(Problem.ADAPTATION_FULL, f"expected to store the images, found: {error}")
