"""The node: objects come in, are analysed by the worker pool, and answers go out."""

import logging
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from datetime import datetime
from pathlib import Path
from types import TracebackType

from pneumoscope.bundle import find_bundle
from pneumoscope.errors import ConfigError, PneumoscopeError, RunError
from pneumoscope.inference.pool import WorkerPool
from pneumoscope.pacs import DICOMWEB, FOLDER
from pneumoscope.pacs.analysis import AnsweredImage, AnswerImages
from pneumoscope.pacs.audit import AuditEntry, AuditEvent, AuditLog
from pneumoscope.pacs.delivery import Deliverer, Destination, FhirDestination, PeerDestination, WebDestination
from pneumoscope.pacs.dicomweb import DicomWeb, Poller
from pneumoscope.pacs.intake import Intake, Refusal
from pneumoscope.pacs.periodic import Periodic
from pneumoscope.pacs.queue import Delivery, Queue, QueuedImage
from pneumoscope.pacs.receiver import Receiver
from pneumoscope.pacs.refusals import Refusals
from pneumoscope.pacs.settings import NodeSettings
from pneumoscope.pacs.watching import FolderWatcher, check_watched
from pneumoscope.types import Decision, PredictionRequest

_log = logging.getLogger(__name__)
AUDIT_FILE = "audit.jsonl"
# Images of one task, and tasks handed to the pool ahead for each process.
_TOGETHER, _AHEAD = 4, 2
# Seconds after which the analyst looks whether something has fallen due; and between deletions of old records.
_EVERY, _FORGET_EVERY = 1.0, 3600.0


class Node:
    """DICOM node that runs until it is closed."""

    def __init__(self, settings: NodeSettings) -> None:
        """Starts the node: it listens once the prediction processes are ready; where no peer is named it opens no DICOM port.

        Raises:
            PneumoscopeError: The settings, the folder, the address or the bundle are not as expected; or another node uses the folder.
        """
        settings.check_ways()
        if settings.watch:
            check_watched(settings.watch)
        self.settings = settings
        folder = Path(settings.folder)
        check_folder(folder)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Why the node can answer no more; it is to be closed then.
        self.failure: PneumoscopeError | None = None
        self.audit = AuditLog(folder / AUDIT_FILE)
        self._stopping = threading.Event()
        self.queue = Queue(folder)
        try:
            self.queue.delete_orphans()
            bundle = find_bundle(settings.bundle)
            bundle.manifest.operating_point(settings.operating_point)
            self._pool = WorkerPool(bundle, settings.processes)
            try:
                self._start()
            except BaseException:
                self._pool.close(wait=False)
                raise
        except BaseException:
            self.queue.close()
            self.audit.close()
            raise

    def _start(self) -> None:
        settings = self.settings
        self._pool.wait_until_ready()
        self.audit.append(AuditEntry(AuditEvent.STARTED, settings.ae_title, settings.host))
        destinations = _destinations(settings)
        self.destinations = tuple(destinations)
        self.intake = Intake(self.queue, self.audit, settings.rules, settings.megabytes * 1_000_000)
        self._refusals = Refusals(self.queue, self.audit)
        self._receiver = Receiver(settings, self.intake, self._refusals) if settings.peers else None
        self._deliverers = [
            Deliverer(each, self.queue, self.audit, settings, self._again) for each in destinations.values()
        ]
        if destinations and (moved := self.queue.readdress(self.destinations)):
            _log.warning("the settings name other destinations than before: the answers to %d images go to them", moved)
        self._sources = _sources(settings, self.intake, self.queue)
        self._analyst = threading.Thread(target=self._analyse, name="analyst", daemon=True)
        for deliverer in self._deliverers:
            deliverer.start()
        self._analyst.start()
        for source in self._sources:
            source.start()

    def __enter__(self) -> "Node":
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def port(self) -> int:
        """Port that the node listens on; 0 where no peer is named."""
        return self._receiver.port if self._receiver else 0

    def close(self) -> None:
        """Ends the node; what waits is answered after the next start."""
        self._stopping.set()
        for source in self._sources:
            source.stop(self.settings.seconds)
        if self._receiver:
            self._receiver.close()
        for each in self._deliverers:
            each.stop()
        self._pool.close(wait=False)
        for each in self._deliverers:
            each.join(self.settings.seconds)
        self._analyst.join(self.settings.seconds)
        self._refusals.summarise(at_once=True)
        self.audit.append(AuditEntry(AuditEvent.STOPPED, self.settings.ae_title))
        self.audit.close()
        self.queue.close()

    def _again(self, delivery: Delivery) -> None:
        """Answers an image again whose answers are not on disk any more, as after a fault of the disk."""
        _log.error("the answers to image %d are missing: it is analysed again", delivery.image.id)
        self.queue.again(delivery.image)

    def _analyse(self) -> None:
        """Hands images to the pool, and records what comes back."""
        at_work: dict[Future[list[AnsweredImage]], list[QueuedImage]] = {}
        most = self.settings.processes * _AHEAD
        forgotten = 0.0
        while not self._stopping.is_set():
            try:
                if (now := time.monotonic()) > forgotten + _FORGET_EVERY or not forgotten:
                    forgotten = now
                    self.queue.forget(self.settings.keep_days)
                self._audit_acts()
                self._refusals.summarise()
                changes = self.queue.changes
                self._hand_over(at_work, most)
                if not at_work:
                    self.queue.wait(changes, _EVERY)
                    continue
                done, _ = wait(at_work, _EVERY, FIRST_COMPLETED)
                for future in done:
                    self._record(at_work.pop(future), future)
            except Exception:  # such as a full disk: tried again
                if self._stopping.is_set():
                    return
                _log.exception("analysis")
                self._stopping.wait(_EVERY)

    def _audit_acts(self) -> None:
        """Writes what was replayed or dropped by another process: one process alone writes the audit log."""
        if acts := self.queue.acts():
            self.audit.append(
                *(AuditEntry(AuditEvent(each.act), each.destination, sop_uid=each.sop_uid) for each in acts)
            )
            self.queue.audited(acts)

    def _hand_over(self, at_work: "dict[Future[list[AnsweredImage]], list[QueuedImage]]", most: int) -> None:
        while len(at_work) < most:
            taken = [image.id for images in at_work.values() for image in images]
            images = self.queue.waiting(_TOGETHER, taken)
            if not images:
                return
            task = AnswerImages(
                [str(image.file) for image in images],
                PredictionRequest(self.settings.operating_point),
                self.settings.kinds,
                self.settings.ae_title,
                datetime.now().astimezone(),
            )
            at_work[self._pool.submit(task)] = images

    def _record(self, images: Sequence[QueuedImage], future: "Future[list[AnsweredImage]]") -> None:
        try:
            found = future.result()
        except Exception as error:  # the pool was closed, or no process can start
            if self._stopping.is_set():
                return
            if not self._pool.is_working:
                self.failure = RunError(f"expected processes that predict, found none any more: {error}")
                self._stopping.set()
                return
            _log.error("%s", error)
            for image in images:
                self._failed(image, f"{type(error).__name__}: {error}", not isinstance(error, RunError))
            return
        for image, answer in zip(images, found, strict=True):
            if not self.queue.is_waiting(image):  # sent again meanwhile: the answer is to what was sent before
                continue
            if answer.error:
                self._failed(image, answer.error, answer.is_at_fault)
                continue
            self.audit.append(
                AuditEntry(
                    AuditEvent.ANSWERED,
                    sop_uid=image.sop_uid,
                    decision=Decision(answer.decision),
                    bundle_sha256=answer.bundle_sha256,
                    reason=",".join(answer.prediction["reasons"]),
                )
            )
            record = answer.prediction | {
                "stands_for": answer.decision,
                "outside": answer.outside,
                "answers": list(answer.kinds),
            }
            self.queue.answered(image, record, () if self.settings.silent else self.destinations)

    def _failed(self, image: QueuedImage, error: str, is_at_fault: bool) -> None:
        """Puts an image off; one that is not at fault, as where the disk is full, as often as it takes."""
        _log.error("image %d: %s", image.id, error)
        if self.queue.failed(image, error, self.settings.attempts if is_at_fault else None):
            self.audit.append(AuditEntry(AuditEvent.DEAD, sop_uid=image.sop_uid, reason="not_analysed"))


def _destinations(settings: NodeSettings) -> dict[str, list[Destination]]:
    """Destinations by name, each as often as answers go to it at a time."""
    if settings.silent:
        return {}
    web = settings.dicomweb
    every: list[Destination] = [
        *(PeerDestination(peer, settings) for peer in settings.peers if peer.port for _ in range(peer.connections)),
        *([WebDestination(web)] if web and web.answers else []),
        *([FhirDestination(settings.fhir)] if settings.fhir else []),
    ]
    return {name: [each for each in every if each.name == name] for name in dict.fromkeys(each.name for each in every)}


def _sources(settings: NodeSettings, intake: Intake, queue: Queue) -> list[Periodic]:
    web, watched = settings.dicomweb, settings.watch

    def count_refusal(reason: str) -> None:
        intake.count_refusal(Refusal(reason), FOLDER)

    found: list[Periodic] = [
        *([Poller(DicomWeb(web), queue.is_known, intake.take_from(DICOMWEB))] if web else []),
        *([FolderWatcher(watched, intake.take_from(FOLDER), count_refusal)] if watched else []),
    ]
    return found


def check_folder(folder: Path) -> None:
    """Check that the node's folder is there, or can be made, and can be written.

    Raises:
        ConfigError: It cannot.
    """
    existing = next(each for each in (folder, *folder.absolute().parents) if os.access(each, os.F_OK))
    found = "a file" if not existing.is_dir() else "no right to write it"
    if found == "a file" or not os.access(existing, os.R_OK | os.W_OK | os.X_OK):
        place = "" if existing == folder else f" in {existing}"
        raise ConfigError(f"expected a folder for the node at {folder}, found {found}{place}: name another by folder")
