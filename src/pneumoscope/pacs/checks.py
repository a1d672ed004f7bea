"""Checks of all that a start of the node needs, without a start."""

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pneumoscope.errors import PneumoscopeError
from pneumoscope.inference.detector import load_detector
from pneumoscope.pacs.addresses import resolved
from pneumoscope.pacs.audit import is_written
from pneumoscope.pacs.delivery import PeerDestination
from pneumoscope.pacs.dicomweb import DicomWeb, DicomWebSettings
from pneumoscope.pacs.fhir import FhirServer, FhirSettings
from pneumoscope.pacs.node import AUDIT_FILE, check_folder
from pneumoscope.pacs.receiver import no_address
from pneumoscope.pacs.settings import NodeSettings, Peer
from pneumoscope.pacs.tls import client_context, server_context
from pneumoscope.pacs.watching import WatchSettings, check_watched


@dataclass(frozen=True)
class Check:
    """Result of one check.

    Attributes:
        passed: Whether all is as a start needs it.
        sentence: Description of what was found; of a failure also of what was expected, and what to do.
    """

    passed: bool
    sentence: str


def check_node(settings: NodeSettings) -> Iterator[Check]:
    """Checks, one after the other; nothing is written, and no image or answer is sent."""
    steps: list[Callable[[NodeSettings], str]] = [_ways, _bundle, _folder]
    if settings.peers:
        steps.append(_address)
    if settings.tls:
        steps.append(_tls)
    steps += [partial(_peer, peer) for peer in settings.peers]
    if settings.dicomweb:
        steps.append(partial(_dicomweb, settings.dicomweb))
    if settings.fhir:
        steps.append(partial(_fhir, settings.fhir))
    if settings.watch:
        steps.append(partial(_watched, settings.watch))
    failures = set()
    for step in steps:
        try:
            yield Check(True, step(settings))
        except PneumoscopeError as error:
            # One of the certificates is also one of each peer with TLS.
            if (sentence := " ".join(str(error).split())) not in failures:
                failures.add(sentence)
                yield Check(False, sentence)


def _ways(settings: NodeSettings) -> str:
    settings.check_ways()
    return "settings can be read"


def _bundle(settings: NodeSettings) -> str:
    manifest = load_detector(settings.bundle).bundle.manifest
    manifest.operating_point(settings.operating_point)
    return f"bundle {manifest.name} {manifest.version} can be loaded, and has the operating point {settings.operating_point}"


def _folder(settings: NodeSettings) -> str:
    check_folder(Path(settings.folder))
    used = ", and a node uses it now" if _is_running(settings) else ""
    return f"folder {settings.folder} can be written{used}"


def _address(settings: NodeSettings) -> str:
    try:
        family, kind, _, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(address)
    except OSError as error:
        if not _is_running(settings):
            raise no_address(settings, error) from error
        return f"address {settings.host}:{settings.port} is held by the node that runs"
    return f"address {settings.host}:{settings.port} is free"


def _is_running(settings: NodeSettings) -> bool:
    return is_written(Path(settings.folder) / AUDIT_FILE)


def _tls(settings: NodeSettings) -> str:
    server_context(settings.tls)
    client_context(settings.tls)
    return "certificate, key and authority of [tls] can be read"


def _peer(peer: Peer, settings: NodeSettings) -> str:
    resolved(peer.host)
    if not peer.port or settings.silent:
        return f"{peer.ae_title} may send from {peer.host or 'anywhere'}"
    PeerDestination(peer, settings).check()
    return f"{peer.ae_title} {peer.host}:{peer.port} takes associations"


def _dicomweb(web: DicomWebSettings, _: NodeSettings) -> str:
    with DicomWeb(web) as server:
        server.ping()
    return f"DICOMweb server {web.url} answers"


def _fhir(fhir: FhirSettings, _: NodeSettings) -> str:
    with FhirServer(fhir) as server:
        server.ping()
    return f"FHIR server {fhir.url} answers"


def _watched(watched: WatchSettings, _: NodeSettings) -> str:
    check_watched(watched)
    return f"watched folder {watched.folder} can be read and written"
