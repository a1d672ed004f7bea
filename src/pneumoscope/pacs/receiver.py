"""Receiver: C-ECHO and C-STORE from the peers of the node."""

import logging
import socket
import ssl
import threading
import time
from typing import Any
from weakref import WeakKeyDictionary

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

from pneumoscope.data.codecs import COMPRESSED
from pneumoscope.errors import ConfigError, StorageError
from pneumoscope.pacs.addresses import PeerAddresses
from pneumoscope.pacs.intake import Intake, Refusal, RefusedError
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
    Refusal.TOO_LARGE: 0xA700,
    Refusal.NO_ROOM: 0xA700,
    Refusal.NOT_UNDERSTOOD: 0xC000,
}
# Bytes of a protocol data unit at most: those of data are no longer than the node announces, others are short.
_ANNOUNCED, _LONGEST_UNIT = 1 << 17, 1 << 20
# Bytes beside the objects of an association, for commands and negotiation.
_BESIDE = 1 << 20


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
        self._bounds: WeakKeyDictionary[Any, _BoundedReading] = WeakKeyDictionary()
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
            server = entity.start_server(
                (settings.host, settings.port), block=False, ssl_context=tls, evt_handlers=handlers
            )
        except (OSError, OverflowError) as error:
            raise no_address(settings, error) from error
        assert server is not None  # noqa: S101  # what start_server gives where it does not block
        server.verify_request = self._may_connect  # type: ignore[method-assign, assignment]
        self._entity, self._server = entity, server

    @property
    def port(self) -> int:
        """Port that the node listens on."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop to listen, and end associations."""
        self._server.shutdown()
        for association in self._entity.active_associations:
            association.abort()

    def _may_connect(self, request: socket.socket, address: tuple[Any, ...]) -> bool:
        """Whether a connection is from a peer, and one of not too many; a peer is known by its AE title only once it has sent something."""
        if not self._addresses.fits(address[0]):
            self._log_refused("", address[0], "unknown_address")
            return False
        connections = sum(each.is_acceptor for each in self._entity.active_associations)
        return connections < 2 * self._settings.associations

    def _bound(self, event: evt.Event) -> None:
        """Bound what the other side can make this one read or wait for."""
        connection: Any = event.assoc.dul.socket
        self._bounds[event.assoc] = bound = _BoundedReading(connection, self._settings)
        connection.recv = bound.read

    def _requested(self, event: evt.Event) -> None:
        """Abort an association under the title of a peer from the address of another one."""
        # The title of the requestor is set later, when the association is negotiated.
        request: Any = event.assoc.requestor.primitive
        title = str(request.calling_ae_title or "").strip()
        address = event.assoc.requestor.address or ""
        if title in self._titles and not self._addresses.fits(address, title):
            self._log_refused(title, address, "unknown_address")
            event.assoc.abort()

    def _refused(self, event: evt.Event) -> None:
        self._log_refused(_calling(event), event.assoc.requestor.address or "", "rejected")

    def _log_refused(self, title: str, address: str, reason: str) -> None:
        try:
            self._refusals.add(title, address, reason)
        except StorageError as error:
            _log.error("%s", error)

    def _store(self, event: evt.Event) -> int:
        self._bounds[event.assoc].begin()
        try:
            self._intake.take(event.encoded_dataset(), _calling(event), event.assoc.requestor.address or "")
        except RefusedError as error:
            _log.warning("an object of %s is refused: %s", _calling(event), error)
            return _STATUS[error.reason]
        except StorageError as error:
            _log.error("%s", error)
            return _STATUS[Refusal.NO_ROOM]
        return _SUCCESS


class _BoundedReading:
    """Reads from a connection no more than an object at a time, and within the time that one may take."""

    def __init__(self, connection: Any, settings: NodeSettings) -> None:
        self._socket: socket.socket = connection.socket
        self._seconds = float(settings.seconds)
        self._most = settings.megabytes * 1_000_000 + _BESIDE
        self._read = 0
        self._lock = threading.Lock()

    def begin(self) -> None:
        """An object has been read; the next may be as large."""
        with self._lock:
            self._read = 0

    def read(self, count: int) -> bytearray:
        """So many bytes, fewer where the connection ends.

        Raises:
            OSError: More than a unit, or an object, may have; or they did not come in time. The connection is then closed.
        """
        if count > _LONGEST_UNIT:
            raise OSError("expected a protocol data unit of the announced length, found a longer one")
        with self._lock:
            self._read += count
            if self._read > self._most:
                raise OSError("expected an object of the largest size at most, found a larger one")
        found = bytearray(count)
        view, done = memoryview(found), 0
        deadline = time.monotonic() + self._seconds
        while done < count:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                read = self._socket.recv_into(view[done:])
            except ssl.SSLWantReadError:
                continue
            if not read:
                break
            done += read
        view.release()
        del found[done:]
        return found


def _calling(event: evt.Event) -> str:
    return str(event.assoc.requestor.ae_title or "").strip()


def no_address(settings: NodeSettings, error: Exception) -> ConfigError:
    """Error for an address that the node cannot listen on."""
    return ConfigError(f"expected a free address {settings.host}:{settings.port}, found: {error}: change host or port")
