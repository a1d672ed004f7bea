"""Delivery of answers: to each destination over connections of its own, as often as it takes."""

import logging
import socket
import ssl
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from pydicom.uid import (
    Comprehensive3DSRStorage,
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE, evt
from pynetdicom.association import Association

from pneumoscope.errors import ConfigError, DataError, PneumoscopeError, StorageError
from pneumoscope.pacs import DICOMWEB, FHIR, KINDS
from pneumoscope.pacs.audit import AuditEntry, AuditEvent, AuditLog
from pneumoscope.pacs.dicomweb import DicomWeb, DicomWebSettings
from pneumoscope.pacs.fhir import FhirServer, FhirSettings
from pneumoscope.pacs.periodic import pause_after
from pneumoscope.pacs.queue import FIRST_PAUSE, LONGEST_PAUSE, Delivery, Queue
from pneumoscope.pacs.settings import NodeSettings, Peer
from pneumoscope.pacs.tls import client_context

_log = logging.getLogger(__name__)
# Answers taken from the queue together, and sent over one association.
_TOGETHER = 32
# SOP classes of the kinds of answers, in the order of `KINDS`.
_SENT = (Comprehensive3DSRStorage, SecondaryCaptureImageStorage, GrayscaleSoftcopyPresentationStateStorage)
# Remedy by source and reason of a rejection (PS3.8, 9.3.4).
_REMEDIES = {
    (1, 3): "enter the node's AE title and address in the settings of the peer",
    (1, 7): "correct ae_title of this peer, or enter the node's in the settings of the peer",
    (3, 1): "wait until the peer has fewer associations",
    (3, 2): "lower connections of this peer",
}
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
        self._connector = _Connector(client_context(settings.tls) if peer.tls else None)
        self._association: Association | None = None
        # Whether the peer answers, but takes none of what is sent.
        self._takes_nothing = False

    def open(self) -> None:
        """Opens an association."""
        peer = self._peer
        wanted = f"expected an association with {peer.ae_title} at {peer.host}:{peer.port}"
        self._connector.error = None
        try:
            association = self._entity.associate(
                peer.host,
                peer.port,
                ae_title=peer.ae_title,
                max_pdu=0,
                tls_args=(cast(ssl.SSLContext, self._connector), peer.host),
                evt_handlers=[(evt.EVT_CONN_OPEN, _send_at_once)],
            )
        except OSError as error:  # the host's name is not known
            raise UnreachableError(f"{wanted}, found {_why_unconnected(error)}") from error
        self._takes_nothing = bool(association.rejected_contexts) and not association.accepted_contexts
        if self._takes_nothing:
            return
        if not association.is_established:
            raise UnreachableError(f"{wanted}, found {self._why_refused(association)}") from self._connector.error
        self._association = association

    def _why_refused(self, association: Association) -> str:
        """Reason why there is no association, and what to do."""
        if association.is_rejected:
            answer: Any = association.acceptor.primitive
            remedy = _REMEDIES.get((answer.result_source, answer.diagnostic), "look at the log of the peer")
            return f"a rejection ({answer.reason_str}): {remedy}"
        if self._connector.error:
            return _why_unconnected(self._connector.error)
        return "a connection, but neither acceptance nor rejection: check port and tls of this peer"

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
        if self._takes_nothing:
            raise NotTakenError(f"expected {self.name} to take reports and pictures, found that it takes neither")
        # What is taken of them is sent though another is not: a picture says what it says without the report.
        refused = [f"{file.suffix[1:]}, found {found}" for file in files if (found := self._refusal(file))]
        if refused:
            raise NotTakenError(f"expected {self.name} to take {'; '.join(refused)}")

    def _refusal(self, file: Path) -> str:
        """Sends a file; gives why it is not taken, empty where it is."""
        association = self._association
        if association is None or not association.is_established:
            raise UnreachableError(f"expected an association with {self.name}, found it ended")
        try:
            status = association.send_c_store(str(file)).get("Status")
        except ValueError:  # no presentation context for it
            return "that it does not"
        except RuntimeError as error:  # the association has ended
            raise UnreachableError(f"expected an association with {self.name}, found it ended") from error
        if status is None:
            raise UnreachableError(f"expected an answer of {self.name}, found none")
        # Warnings begin with B: it is stored, though not quite as it was sent.
        return "" if status == 0 or status >> 12 == 0xB else f"status {status:04X}"

    def close(self) -> None:
        """Releases the association, or aborts it where it does not react."""
        association, self._association = self._association, None
        if association is not None and association.is_established:
            association.release()


class _Connector:
    """Makes the socket of an association, by TLS or plain, where pynetdicom takes an SSL context, and keeps its error, which pynetdicom only logs.

    Attributes:
        error: Error of the latest association's socket; None where there was none.
    """

    def __init__(self, context: ssl.SSLContext | None) -> None:
        """Takes a context; None for plain associations."""
        self._context = context
        self.error: OSError | None = None

    def wrap_socket(self, plain: socket.socket, **more: Any) -> socket.socket:
        """Socket that takes the place of a plain one."""
        made: Any = self._context.wrap_socket(plain, **more) if self._context else _Socket(fileno=plain.detach())
        # TLS 1.3 says only at the first reading that the other side does not take this one's certificate.
        for name, kind in (("connect", OSError), ("recv", ssl.SSLError)):
            setattr(made, name, self._keep_error(getattr(made, name), kind))
        return cast(socket.socket, made)

    def _keep_error(self, call: Callable[[Any], Any], kind: type[OSError]) -> Callable[[Any], Any]:
        def called(argument: Any) -> Any:
            try:
                return call(argument)
            except kind as error:
                self.error = error
                raise

        return called


class _Socket(socket.socket):
    """Socket whose methods can be replaced."""


def _why_unconnected(error: OSError) -> str:
    """Reason why there is no connection, and what to do."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"a certificate that does not fit ({error.verify_message}): correct host of this peer, its certificate, or authority in [tls]"
    if isinstance(error, ssl.SSLError):
        return f"a fault of TLS ({error.reason or error}): check that the peer takes TLS, and that its authority signed the node's certificate"
    if isinstance(error, TimeoutError):
        return "no answer in time: check host and port, and any firewall between"
    return f"no connection ({error.strerror or error}): check that the peer runs, and its host, port and tls"


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
        """Finds out whether the server answers: each request stands for itself."""
        _reach(self._server)

    def send(self, files: Sequence[Path]) -> None:
        """Stores the files of an image by one request."""
        try:
            results = self._server.store(files)
        except (StorageError, ConfigError) as error:  # a file of a token that cannot be read, too
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
        """Finds out whether the server answers: each request stands for itself."""
        _reach(self._server)

    def send(self, files: Sequence[Path]) -> None:
        """Stores the resources of an image by one request."""
        for file in files:
            try:
                self._server.store(file.read_bytes())
            except (StorageError, ConfigError) as error:
                raise UnreachableError(str(error)) from error
            except DataError as error:
                raise NotTakenError(str(error)) from error

    def close(self) -> None:
        """Nothing to do."""


def _reach(server: DicomWeb | FhirServer) -> None:
    try:
        server.ping()
    except (StorageError, ConfigError) as error:
        raise UnreachableError(str(error)) from error
    except DataError:  # a server that takes what is sent, and answers nothing else
        return


class Deliverer:
    """Delivers to one destination, over one or several connections at a time, each on a thread of its own."""

    def __init__(
        self,
        connections: Sequence[Destination],
        queue: Queue,
        audit: AuditLog,
        settings: NodeSettings,
        again: Callable[[Delivery], None],
    ) -> None:
        """Sets the threads up.

        Args:
            connections: Destination, once for each connection.
            queue: Queue of the answers.
            audit: Log of what was delivered.
            settings: Number of tries.
            again: Called with a delivery whose files are missing, to have the image answered again.
        """
        self.name = connections[0].name
        self._queue, self._audit, self._settings, self._again = queue, audit, settings, again
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        # Images whose answers a connection has taken on.
        self._taken: set[int] = set()
        # Answers delivered so far, and how many had been when the connection broke over an image.
        self._delivered, self._broken_at = 0, dict[int, int]()
        # Connections that are not reached, and the error that was logged of them.
        self._unreached: set[int] = set()
        self._logged = ""
        self._threads = [
            threading.Thread(
                target=self._run, args=(number, each), name=f"delivery {number + 1} to {self.name}", daemon=True
            )
            for number, each in enumerate(connections)
        ]

    def start(self) -> None:
        """Starts the threads."""
        for each in self._threads:
            each.start()

    def stop(self) -> None:
        """Ends the threads once they have sent what they send now."""
        self._stopping.set()

    def join(self, seconds: float) -> None:
        """Waits for the threads to end, for some seconds each."""
        for each in self._threads:
            each.join(seconds)

    def _run(self, number: int, connection: Destination) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                failures = self._deliver(number, connection, failures)
            except Exception:  # such as a full disk: tried again
                _log.exception("delivery to %s", self.name)
                failures += 1
            if failures:
                self._stopping.wait(pause_after(failures - 1, FIRST_PAUSE, LONGEST_PAUSE))

    def _deliver(self, number: int, connection: Destination, failures: int) -> int:
        """Delivers what is due; gives the number of failures in a row to reach the destination."""
        changes = self._queue.changes
        delivery = self._take()
        if delivery is None:
            self._queue.wait(changes, _EVERY)
            return failures
        try:
            connection.open()
            for _ in range(_TOGETHER):
                self._send(connection, delivery)
                if self._stopping.is_set() or (following := self._take()) is None:
                    break
                self._give_back(delivery)
                delivery = following
        except UnreachableError as error:
            self._is_reached(number, False, str(error))
            return failures + 1
        finally:
            connection.close()
            self._give_back(delivery)
        self._is_reached(number, True)
        return 0

    def _take(self) -> Delivery | None:
        with self._lock:
            due = self._queue.deliveries(self.name, 1, sorted(self._taken))
            self._taken |= {each.image.id for each in due}
        return due[0] if due else None

    def _give_back(self, delivery: Delivery) -> None:
        with self._lock:
            self._taken.discard(delivery.image.id)

    def _is_reached(self, number: int, reached: bool, error: str = "") -> None:
        """Logs when the destination is lost over all connections, or lost for another reason, and when it is found again over one."""
        with self._lock:
            was_lost = len(self._unreached) == len(self._threads)
            (self._unreached.discard if reached else self._unreached.add)(number)
            is_lost = len(self._unreached) == len(self._threads)
            is_news = is_lost and not (was_lost and error == self._logged)
            if is_news:
                self._logged = error
        if is_news:
            _log.warning("%s; it is tried again without end", error)
        elif was_lost and not is_lost:
            _log.warning("%s answers again", self.name)

    def _send(self, connection: Destination, delivery: Delivery) -> None:
        """Sends the answers to an image, and records what became of it.

        Raises:
            UnreachableError: The connection broke.
        """
        image = delivery.image
        try:
            kinds = [kind for kind in (image.prediction or {})["answers"] if kind in connection.kinds]
            connection.send([image.answer(kind) for kind in kinds])
        except FileNotFoundError:
            self._again(delivery)
            return
        except UnreachableError as error:
            self._broke(delivery, str(error))
            raise
        except Exception as error:  # such as a file that was damaged: others are not to wait behind it
            message = (
                str(error) if isinstance(error, PneumoscopeError) else f"it cannot be sent ({type(error).__name__})"
            )
            _log.warning("%s", message)
            self._not_taken(delivery, message, self._settings.attempts)
            return
        self._audit.append(AuditEntry(AuditEvent.DELIVERED, self.name, sop_uid=image.sop_uid))
        self._queue.delivered(delivery)
        with self._lock:
            self._delivered += 1
            self._broken_at.pop(image.id, None)

    def _broke(self, delivery: Delivery, error: str) -> None:
        """Puts off an image over which the connection broke, that others are not to wait behind it.

        It counts as a try where others were delivered since the last time: else the destination is to blame.
        """
        with self._lock:
            is_to_blame = self._delivered > self._broken_at.get(delivery.image.id, self._delivered)
            self._broken_at[delivery.image.id] = self._delivered
        self._not_taken(delivery, error, self._settings.attempts if is_to_blame else None)

    def _not_taken(self, delivery: Delivery, error: str, attempts: int | None) -> None:
        if self._queue.not_delivered(delivery, error, attempts):
            self._audit.append(
                AuditEntry(AuditEvent.DEAD, self.name, sop_uid=delivery.image.sop_uid, reason="not_taken")
            )
