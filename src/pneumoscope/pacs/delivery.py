"""Delivery of answers: to each destination by a thread of its own, as often as it takes."""

import logging
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydicom.uid import (
    Comprehensive3DSRStorage,
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE, evt
from pynetdicom.association import Association

from pneumoscope.errors import DataError, PneumoscopeError, StorageError
from pneumoscope.pacs import FHIR, KINDS
from pneumoscope.pacs.audit import AuditEntry, AuditEvent, AuditLog
from pneumoscope.pacs.dicomweb import DicomWeb, DicomWebSettings
from pneumoscope.pacs.fhir import FhirServer, FhirSettings
from pneumoscope.pacs.intake import DICOMWEB
from pneumoscope.pacs.periodic import pause_after
from pneumoscope.pacs.queue import FIRST_PAUSE, LONGEST_PAUSE, Delivery, Queue
from pneumoscope.pacs.settings import NodeSettings, Peer
from pneumoscope.pacs.tls import client_context

_log = logging.getLogger(__name__)
# Answers taken from the queue together, and sent over one association.
_TOGETHER = 32
# SOP classes of the kinds of answers, in the order of `KINDS`.
_SENT = (Comprehensive3DSRStorage, SecondaryCaptureImageStorage, GrayscaleSoftcopyPresentationStateStorage)
# Seconds after which a thread looks whether something has fallen due.
_EVERY = 1.0


class UnreachableError(PneumoscopeError):
    """A destination does not answer; it is tried again until it does."""


class NotTakenError(PneumoscopeError):
    """A destination does not take an answer; after so many tries it is set aside."""


class Destination(ABC):
    """Place that answers go to.

    Attributes:
        name: Name in the queue.
        kinds: Kinds of answers that go there.
    """

    name: str
    kinds: tuple[str, ...] = KINDS

    @abstractmethod
    def open(self) -> None:
        """Prepares to send.

        Raises:
            UnreachableError: It does not answer.
        """

    @abstractmethod
    def send(self, files: Sequence[Path]) -> None:
        """Sends the answers to one image; where they were sent before, they replace themselves.

        Raises:
            UnreachableError: It does not answer any more.
            NotTakenError: It does not take one of them.
            FileNotFoundError: There is no such file.
        """

    @abstractmethod
    def close(self) -> None:
        """Ends what `open` has begun."""


class PeerDestination(Destination):
    """Peer that takes answers by C-STORE."""

    def __init__(self, peer: Peer, settings: NodeSettings) -> None:
        """Sets the peer up; nothing is sent yet."""
        self.name = peer.ae_title
        self._peer, self._wanted = peer, settings.answers
        self._entity = AE(settings.ae_title)
        self._entity.connection_timeout = min(30, settings.seconds)
        self._entity.acse_timeout = self._entity.dimse_timeout = self._entity.network_timeout = settings.seconds
        for uid in _SENT:
            self._entity.add_requested_context(uid, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
        self._tls = (client_context(settings.tls), peer.host) if peer.tls else None
        self._association: Association | None = None
        # Whether the peer answers, but takes none of what is sent.
        self._takes_nothing = False

    def open(self) -> None:
        """Opens an association."""
        peer = self._peer
        association = self._entity.associate(
            peer.host,
            peer.port,
            ae_title=peer.ae_title,
            max_pdu=0,
            tls_args=self._tls,
            evt_handlers=[(evt.EVT_CONN_OPEN, _send_at_once)],
        )
        self._takes_nothing = bool(association.rejected_contexts) and not association.accepted_contexts
        if self._takes_nothing:
            return
        if not association.is_established:
            found = "a refusal" if association.is_rejected else "no answer"
            raise UnreachableError(f"expected an association with {self.name}, found {found}")
        self._association = association

    def check(self) -> None:
        """Opens an association and ends it.

        Raises:
            UnreachableError: There is none.
            NotTakenError: The peer does not take every kind of answer.
        """
        try:
            self.open()
            refused = (
                {each.abstract_syntax for each in self._association.rejected_contexts} if self._association else _SENT
            )
            lacking = [kind for kind, uid in zip(KINDS, _SENT, strict=True) if kind in self._wanted and uid in refused]
        finally:
            self.close()
        if lacking:
            raise NotTakenError(
                f"expected {self.name} to take {' and '.join(lacking)}, found that it does not: change answers, or its settings"
            )

    def send(self, files: Sequence[Path]) -> None:
        """Sends files by C-STORE."""
        association = self._association
        if self._takes_nothing:
            raise NotTakenError(f"expected {self.name} to take reports and pictures, found that it takes neither")
        for file in files:
            if association is None or not association.is_established:
                raise UnreachableError(f"expected an association with {self.name}, found it ended")
            try:
                status = association.send_c_store(str(file)).get("Status")
            except ValueError as error:  # no presentation context for it
                raise NotTakenError(
                    f"expected {self.name} to take {file.suffix[1:]}, found that it does not"
                ) from error
            except RuntimeError as error:  # the association has ended
                raise UnreachableError(f"expected an association with {self.name}, found it ended") from error
            if status is None:
                raise UnreachableError(f"expected an answer of {self.name}, found none")
            # Warnings begin with B: it is stored, though not quite as it was sent.
            if status != 0 and status >> 12 != 0xB:
                raise NotTakenError(f"expected {self.name} to take {file.suffix[1:]}, found status {status:04X}")

    def close(self) -> None:
        """Releases the association, or aborts it where it does not react."""
        association, self._association = self._association, None
        if association is not None and association.is_established:
            association.release()


def _send_at_once(event: evt.Event) -> None:
    """Have each unit of data sent at once: a command and its object are two, and the second waited 40 ms for the first's receipt."""
    connection: Any = event.assoc.dul.socket
    connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class WebDestination(Destination):
    """DICOMweb server that takes answers by STOW-RS."""

    name = DICOMWEB

    def __init__(self, settings: DicomWebSettings) -> None:
        """Sets the server up; nothing is sent yet."""
        self._server = DicomWeb(settings)

    def open(self) -> None:
        """Nothing to do: each request stands for itself."""

    def send(self, files: Sequence[Path]) -> None:
        """Stores the files of an image by one request."""
        try:
            results = self._server.store(files)
        except StorageError as error:
            raise UnreachableError(str(error)) from error
        except DataError as error:
            raise NotTakenError(str(error)) from error
        if refused := [result.detail for result in results if not result.stored]:
            raise NotTakenError(f"expected the DICOMweb server to store an answer, found: {'; '.join(refused)}")

    def close(self) -> None:
        """Nothing to do."""


class FhirDestination(Destination):
    """FHIR server that takes answers as transactions."""

    name = FHIR
    kinds = (FHIR,)

    def __init__(self, settings: FhirSettings) -> None:
        """Sets the server up; nothing is sent yet."""
        self._server = FhirServer(settings)

    def open(self) -> None:
        """Nothing to do: each request stands for itself."""

    def send(self, files: Sequence[Path]) -> None:
        """Stores the resources of an image by one request."""
        for file in files:
            try:
                self._server.store(file.read_bytes())
            except StorageError as error:
                raise UnreachableError(str(error)) from error
            except DataError as error:
                raise NotTakenError(str(error)) from error

    def close(self) -> None:
        """Nothing to do."""


class Deliverer(threading.Thread):
    """Delivers to one destination."""

    def __init__(
        self,
        destination: Destination,
        queue: Queue,
        audit: AuditLog,
        settings: NodeSettings,
        again: Callable[[Delivery], None],
        share: tuple[int, int] = (0, 1),
    ) -> None:
        """Sets the thread up.

        Args:
            destination: Where the answers go.
            queue: Queue of the answers.
            audit: Log of what was delivered.
            settings: Kinds of answers and number of tries.
            again: Called with a delivery whose files are missing, to have the image answered again.
            share: Share of the answers that the thread delivers: its number, and how many there are.
        """
        super().__init__(name=f"delivery to {destination.name}", daemon=True)
        self._destination, self._queue, self._audit, self._settings = destination, queue, audit, settings
        self._again, self._share = again, share
        self._stopping = threading.Event()
        # Tries in vain to reach the destination, one after the other.
        self._unreached = 0

    def stop(self) -> None:
        """Ends the thread once it has sent what it sends now."""
        self._stopping.set()

    def run(self) -> None:
        """Delivers until it is stopped."""
        while not self._stopping.is_set():
            try:
                pause = self._deliver()
            except Exception:  # such as a full disk: tried again
                _log.exception("delivery to %s", self._destination.name)
                pause = LONGEST_PAUSE / 60
            if pause:
                self._stopping.wait(pause)

    def _deliver(self) -> float:
        """Delivers what is due; gives the seconds until the next look."""
        changes = self._queue.changes
        due = self._queue.deliveries(self._destination.name, _TOGETHER, self._share)
        if not due:
            self._queue.wait(changes, _EVERY)
            return 0.0
        try:
            self._destination.open()
            try:
                for delivery in due:
                    if self._stopping.is_set():
                        break
                    self._send(delivery)
            finally:
                self._destination.close()
        except UnreachableError as error:
            self._unreached += 1
            pause = pause_after(self._unreached - 1, FIRST_PAUSE, LONGEST_PAUSE)
            if self._unreached == 1:
                _log.warning("%s; tried again until it answers", error)
            return pause
        if self._unreached:
            _log.warning("%s answers again", self._destination.name)
        self._unreached = 0
        return 0.0

    def _send(self, delivery: Delivery) -> None:
        image, name = delivery.image, self._destination.name
        try:
            kinds = [kind for kind in (image.prediction or {})["answers"] if kind in self._destination.kinds]
            self._destination.send([image.answer(kind) for kind in kinds])
        except FileNotFoundError:
            self._again(delivery)
            return
        except UnreachableError:
            raise
        except Exception as error:  # such as a file that was damaged: others are not to wait behind it
            message = (
                str(error) if isinstance(error, PneumoscopeError) else f"it cannot be sent ({type(error).__name__})"
            )
            _log.warning("%s", message)
            if self._queue.not_delivered(delivery, message, self._settings.attempts):
                self._audit.append(AuditEntry(AuditEvent.DEAD, name, sop_uid=image.sop_uid, reason="not_taken"))
            return
        self._audit.append(AuditEntry(AuditEvent.DELIVERED, name, sop_uid=image.sop_uid))
        self._queue.delivered(delivery)
