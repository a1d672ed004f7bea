"""Receiver: C-ECHO and C-STORE from the peers of the node."""

import contextlib
import logging
import math
import socket
import ssl
import threading
import time
from collections.abc import Callable
from io import BytesIO
from ipaddress import ip_address
from socketserver import BaseServer
from typing import Any, cast

from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import ThreadedAssociationServer

from pneumoscope.data.codecs import COMPRESSED
from pneumoscope.errors import ConfigError, StorageError
from pneumoscope.pacs.addresses import PeerAddresses
from pneumoscope.pacs.intake import NO_IMAGES, Intake, Refusal, RefusedError
from pneumoscope.pacs.refusals import Refusals
from pneumoscope.pacs.settings import NodeSettings
from pneumoscope.pacs.tls import server_context

_log = logging.getLogger(__name__)
_VERIFICATION = "1.2.840.10008.1.1"
STORED = (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
    # A PACS that sends a study sends the answers in it too, and some send nothing of it where a class is refused.
    *NO_IMAGES,
)
TRANSFER_SYNTAXES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    *COMPRESSED,
)
# Status of a C-STORE response (PS3.4, B.2.3; PS3.7, annex C).
_SUCCESS, _NOT_AUTHORISED = 0x0000, 0x0124
_STATUS = {
    Refusal.BY_RULE: _NOT_AUTHORISED,
    Refusal.TOO_LARGE: 0xC000,  # A700 would be sent again for ever
    Refusal.NO_ROOM: 0xA700,
    Refusal.NOT_UNDERSTOOD: 0xC000,
}
_REFUSED = {
    Refusal.TOO_LARGE: "expected an object of at most the largest size, found a larger one: raise megabytes if they are so large",
    Refusal.NO_ROOM: "expected memory for a large object, found it full of others: it may be sent again",
}
# Bytes of a protocol data unit at most: those of data are no longer than the node announces, others are short.
_ANNOUNCED, _LONGEST_UNIT = 1 << 17, 1 << 20
# Time in which associations may end in good order when the node does.
_GOODBYE_SECONDS = 1.0
# Bytes of a command, and messages that wait for their answers, at most; one at a time is negotiated.
_LONGEST_COMMAND, _MOST_MESSAGES = 1 << 16, 10
# Large objects that are kept at a time, over all associations; the rest may be as much together.
_PLACES = 4
# Multiple of the largest object up to which a larger one is read, so that it gets a status.
_READ_AT_MOST = 4
# Multiple of `seconds` in which a large object must have come, since others wait for its place.
_LARGE_WITHIN = 10


class Receiver:
    """DICOM server that peers alone may use."""

    def __init__(self, settings: NodeSettings, intake: Intake, refusals: Refusals) -> None:
        """Starts to listen; at least one peer is named.

        Raises:
            ConfigError: The address cannot be used, or a certificate cannot be read.
        """
        self._settings, self._intake, self._refusals = settings, intake, refusals
        self._titles = {peer.ae_title for peer in settings.peers}
        self._addresses = PeerAddresses(settings.peers)
        self._places, self._copying = threading.Semaphore(_PLACES), threading.Lock()
        entity = AE(settings.ae_title)
        entity.require_called_aet = True
        entity.require_calling_aet = sorted(self._titles)
        entity.maximum_associations = settings.associations
        entity.maximum_pdu_size = _ANNOUNCED
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = settings.seconds
        entity.add_supported_context(_VERIFICATION)
        for uid in STORED:
            entity.add_supported_context(uid, list(TRANSFER_SYNTAXES))
        handlers: list[Any] = [
            (evt.EVT_CONN_OPEN, self._bound),
            (evt.EVT_REJECTED, self._refused),
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_C_STORE, self._store),
        ]
        tls = server_context(settings.tls) if settings.tls else None
        try:
            server = entity.make_server(
                (settings.host, settings.port), ssl_context=tls, evt_handlers=handlers, server_class=_Server
            )
        except (OSError, OverflowError) as error:
            raise no_address(settings, error) from error
        server.verify_request = self._may_connect  # type: ignore[method-assign, assignment]
        self._entity, self._server = entity, server
        threading.Thread(target=server.serve_forever, name="receiver", daemon=True).start()

    @property
    def port(self) -> int:
        """Port that the node listens on."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop to listen, and end associations, also those whose other side says nothing."""
        BaseServer.shutdown(self._server)
        self._server.server_close()
        associations = self._entity.active_associations
        for association in associations:
            if association.is_established:
                association.abort(block=False)
        deadline = time.monotonic() + _GOODBYE_SECONDS
        while time.monotonic() < deadline and any(_is_open(association) for association in associations):
            time.sleep(0.01)
        for association in associations:
            _hang_up(association)
        for association in associations:
            association.kill()

    def _may_connect(self, request: socket.socket, address: tuple[Any, ...]) -> bool:
        """Whether a connection is from a peer, and one of not too many; a peer is known by its AE title only once it has sent something."""
        if not self._addresses.fits(address[0]):
            message = f"expected the host of a peer, found {address[0]}: name it in [[peers]]"
            self._log_refused("", address[0], "unknown_address", message)
            return False
        most = 2 * self._settings.associations
        if sum(each.is_acceptor for each in self._entity.active_associations) < most:
            return True
        self._log_too_many("", address[0], most)
        return False

    def _bound(self, event: evt.Event) -> None:
        """Bound what the other side can make this one read or wait for."""
        address = event.assoc.requestor.address or ""
        # Kept by the association alone, to which it refers: in a mapping from one to the other neither would ever be freed.
        event.assoc.bounded_reading = _BoundedReading(  # type: ignore[attr-defined]
            event.assoc, self._settings, self._places, lambda error: self._log_no_tls(address, error)
        )

    def _requested(self, event: evt.Event) -> None:
        """Abort an association under the title of a peer from the address of another one."""
        # The title of the requestor is set later, when the association is negotiated.
        request: Any = event.assoc.requestor.primitive
        title = str(request.calling_ae_title or "").strip()
        address = event.assoc.requestor.address or ""
        if title in self._titles and not self._addresses.fits(address, title):
            message = f"expected {title!r} from its own host, found it at {address}: correct host in [[peers]]"
            self._log_refused(title, address, "unknown_address", message)
            event.assoc.abort()

    def _refused(self, event: evt.Event) -> None:
        """Log a rejection by what somebody can correct: titles first, then the number of associations."""
        request: Any = event.assoc.requestor.primitive
        title, address = _calling(event), event.assoc.requestor.address or ""
        called, own = str(request.called_ae_title or "").strip(), self._settings.ae_title
        if called != own:
            message = f"expected a call of {own!r}, found {title!r} at {address} that calls {called!r}: correct the sender, or ae_title"
            self._log_refused(title, address, "wrong_called_title", message)
        elif title not in self._titles:
            message = f"expected the AE title of a peer, found {title!r} at {address}: name it in [[peers]], or correct the sender"
            self._log_refused(title, address, "unknown_calling_title", message)
        else:
            self._log_too_many(title, address, self._settings.associations)

    def _log_too_many(self, title: str, address: str, most: int) -> None:
        message = f"expected at most {most} associations at a time, found another, from {address}: raise associations"
        self._log_refused(title, address, "too_many", message)

    def _log_no_tls(self, address: str, error: ssl.SSLError) -> None:
        message = f"expected TLS with a certificate of the authority, found none from {address} ({error.reason})"
        self._log_refused("", address, "no_tls", f"{message}: correct TLS, certificate or authority of the sender")

    def _log_refused(self, title: str, address: str, reason: str, message: str) -> None:
        try:
            self._refusals.add(title, address, reason, message)
        except StorageError as error:
            _log.error("%s", error)

    def _store(self, event: evt.Event) -> int:
        title, address = _calling(event), event.assoc.requestor.address or ""
        reading: _BoundedReading = event.assoc.bounded_reading  # type: ignore[attr-defined]
        request = cast(C_STORE, event.request)
        try:
            if reading.refusal:
                error = RefusedError(reading.refusal, _REFUSED[reading.refusal])
                self._intake.refuse(error, title, address, str(request.AffectedSOPInstanceUID or ""))
            with self._copying:  # an object is held twice for a moment: one at a time
                content = event.encoded_dataset()
                request.DataSet = BytesIO()
            self._intake.take(content, title, address)
        except RefusedError as error:
            _log.warning("an object of %s is refused: %s", title, error)
            return _STATUS[error.reason]
        except StorageError as error:
            _log.error("%s", error)
            return _STATUS[Refusal.NO_ROOM]
        finally:
            reading.begin()
        return _SUCCESS


class _Server(ThreadedAssociationServer):
    """Server that reads nothing of a connection: what waits for the other side, and be it for TLS, is up to the association's own thread."""

    def get_request(self) -> tuple[socket.socket, tuple[Any, ...]]:
        """Connection, and where it comes from; IPv4 addresses as such also where the node listens by IPv6."""
        connection, address = self.socket.accept()  # type: ignore[union-attr]
        if self.ssl_context:
            # The first reading does the handshake.
            connection = self.ssl_context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        mapped = getattr(ip_address(address[0]), "ipv4_mapped", None)
        return connection, (str(mapped), address[1]) if mapped else address


class _BoundedReading:
    """Reads what an association is sent in the time that it may take, and keeps an object at a time, within bounds.

    Every association may keep its share of `_PLACES` objects of the largest size. An object beyond the share takes one
    of as many places, and waits for it; so that who has one can go on, and all together keep twice `_PLACES` of the largest.

    Attributes:
        refusal: Reason why nothing is kept of the object that is read; None where it is.
    """

    def __init__(
        self,
        association: Any,
        settings: NodeSettings,
        places: threading.Semaphore,
        handshake_failed: Callable[[ssl.SSLError], None],
    ) -> None:
        """Takes the place of the association's own reading; `handshake_failed` is called where TLS does not begin."""
        self._handshake_failed, self._is_begun = handshake_failed, False
        self._socket: socket.socket = association.dul.socket.socket
        self._dul, self._dimse, self._places = association.dul, association.dimse, places
        self._seconds = float(settings.seconds)
        self._most = settings.megabytes * 1_000_000
        self._share = _PLACES * self._most // settings.associations
        self._command, self._lock, self._has_place = 0, threading.Lock(), False
        self.begin()
        association.dul.socket.recv = self.read
        self._pass_on, self._dimse.receive_primitive = self._dimse.receive_primitive, self.receive
        self._run, self._dul.run = self._dul.run, self.run

    def run(self) -> None:
        """Read until the association ends, and leave nothing of an object that has come in part."""
        try:
            self._run()
        finally:
            self._forget()

    def begin(self) -> None:
        """An object has been dealt with, and the next may come."""
        self.refusal: Refusal | None = None
        self._size, self._deadline = 0, math.inf
        self._give_back()
        self._is_whole = False

    def receive(self, primitive: P_DATA) -> None:
        """Pass on fragments of messages; what is no protocol, or beyond all bounds, ends the association."""
        for context, data in primitive.presentation_data_value_list:
            is_bounded = bool(data) and (self._bound_command(data) if data[0] & 1 else self._bound_object(data))
            if not is_bounded:
                self._dul.event_queue.put("Evt19")  # as for what cannot be decoded: abort
                return
            fragment = P_DATA()
            kept = data if data[0] & 1 or self.refusal is None else data[:1]
            fragment.presentation_data_value_list.append((context, kept))
            self._pass_on(fragment)

    def _bound_command(self, data: bytes) -> bool:
        self._command += len(data)
        is_bounded = self._command <= _LONGEST_COMMAND and self._dimse.msg_queue.qsize() < _MOST_MESSAGES
        if data[0] & 2:
            self._command = 0
        return is_bounded

    def _bound_object(self, data: bytes) -> bool:
        if self._is_whole:  # another one, before the answer to the first
            return False
        self._size += len(data) - 1
        if self._size > self._most:
            self._refuse(Refusal.TOO_LARGE)
        elif self._size > self._share and not self.refusal and not self._has_place:
            # Meanwhile nothing is read: the other side waits.
            self._has_place = self._places.acquire(timeout=self._seconds / 2)
            if self._has_place:
                self._deadline = time.monotonic() + _LARGE_WITHIN * self._seconds
            else:
                self._refuse(Refusal.NO_ROOM)
        self._is_whole = bool(data[0] & 2)
        return self._size <= _READ_AT_MOST * self._most and time.monotonic() < self._deadline

    def _refuse(self, reason: Refusal) -> None:
        if not self.refusal:
            self._deadline = time.monotonic() + self._seconds
            self._forget()
        self.refusal = reason

    def _forget(self) -> None:
        if self._dimse.message is not None:
            self._dimse.message.data_set = BytesIO()
        self._give_back()

    def _give_back(self) -> None:
        with self._lock:
            if self._has_place:
                self._has_place = False
                self._places.release()

    def read(self, count: int) -> bytearray:
        """So many bytes, fewer where the connection ends.

        Raises:
            OSError: More than a unit may have, or they did not come in time. The connection is then closed.
        """
        if count > _LONGEST_UNIT:
            raise OSError("expected a protocol data unit of the announced length, found a longer one")
        found = bytearray(count)
        view, done = memoryview(found), 0
        deadline = time.monotonic() + self._seconds
        while done < count:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                read = self._socket.recv_into(view[done:])
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError as error:
                if not self._is_begun:
                    self._handshake_failed(error)
                raise
            if not read:
                break
            done += read
            self._is_begun = True
        view.release()
        del found[done:]
        return found


def _is_open(association: Any) -> bool:
    return bool(association.is_established) and association.dul.state_machine.current_state == "Sta6"


def _hang_up(association: Any) -> None:
    """End a connection below TLS, which would wait for the other side; a thread that reads from it goes on."""
    connection = association.dul.socket.socket
    if connection is not None:
        with contextlib.suppress(OSError):
            socket.socket.shutdown(connection, socket.SHUT_RDWR)


def _calling(event: evt.Event) -> str:
    return str(event.assoc.requestor.ae_title or "").strip()


def no_address(settings: NodeSettings, error: Exception) -> ConfigError:
    """Error for an address that the node cannot listen on."""
    return ConfigError(f"expected a free address {settings.host}:{settings.port}, found: {error}: change host or port")
