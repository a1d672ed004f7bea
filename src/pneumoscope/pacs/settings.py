"""Settings of the DICOM node, from a TOML file."""

import os
import re
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path

from pneumoscope.config import from_table
from pneumoscope.errors import ConfigError
from pneumoscope.hosts import is_loopback
from pneumoscope.pacs import DICOMWEB, FHIR, FOLDER, KINDS
from pneumoscope.pacs.dicomweb import DicomWebSettings
from pneumoscope.pacs.fhir import FhirSettings
from pneumoscope.pacs.rules import USUAL_RULES, Rule
from pneumoscope.pacs.watching import WatchSettings

# AE title: at most 16 characters of the default repertoire, without a backslash (PS3.5, section 6.2).
_AE_TITLE = re.compile(r"(?! )[ -\[\]-~]{1,16}(?<! )")
_LARGEST_PORT = 65535
# A table that is one of a list, but is not written so.
_SINGLE_TABLE = re.compile(r"^\s*\[\s*(peers|rules)\s*\]", re.MULTILINE)


def _check_title(name: str, title: str) -> None:
    if not _AE_TITLE.fullmatch(title):
        raise ConfigError(f"expected {name} of 1 to 16 plain characters, found {title!r}: change it")


def _check_least(name: str, found: int, least: int, most: int) -> None:
    if not least <= found <= most:
        raise ConfigError(f"expected {name} in {least}-{most}, found {found}: change it")


@dataclass(frozen=True)
class Peer:
    """System that may send images to the node, and may get its answers.

    Attributes:
        ae_title: AE title of the system.
        host: Address of the system; images are taken from there alone. Any where empty.
        port: Port at which it takes answers; 0 where it takes none.
        tls: Whether answers go to it by TLS.
        connections: Associations at a time by which answers go to it.

    Raises:
        ConfigError: No AE title, or a port without a host.
    """

    ae_title: str = ""
    host: str = ""
    port: int = 0
    tls: bool = False
    connections: int = 2

    def __post_init__(self) -> None:
        _check_title("peers.ae_title", self.ae_title)
        if self.ae_title in (DICOMWEB, FOLDER, FHIR):
            raise ConfigError(f"expected a peers.ae_title, found {self.ae_title!r}, which is none: change it")
        _check_least("peers.connections", self.connections, 1, 16)
        _check_least("peers.port", self.port, 0, _LARGEST_PORT)
        if self.port and not self.host:
            raise ConfigError(f"expected peers.host beside the port of {self.ae_title}, found none: name its address")


@dataclass(frozen=True)
class TlsSettings:
    """Certificates for TLS; none is used where all are empty.

    Attributes:
        certificate: File of the node's certificate, PEM.
        key: File of its private key, PEM.
        authority: File of the certificates that systems on the other side must be signed by, PEM.
    """

    certificate: str = ""
    key: str = ""
    authority: str = ""

    def __post_init__(self) -> None:
        given = [bool(self.certificate), bool(self.key), bool(self.authority)]
        if any(given) and not all(given):
            raise ConfigError("expected certificate, key and authority in [tls] together, found some: add the others")

    def __bool__(self) -> bool:
        return bool(self.certificate)


@dataclass(frozen=True)
class NodeSettings:
    """Settings of the node.

    Attributes:
        ae_title: AE title of the node.
        host: Address to listen on; this machine alone by default.
        port: Port to listen on; 0 for a free one.
        folder: Folder of queue, images on their way and audit log; relative to that of the file.
        bundle: `default`, `nano`, `best`, or the path of a bundle, such as one that `adapt` made.
        operating_point: Name of an operating point in the bundle.
        workers: Number of prediction processes; 0 for one per core.
        answers: Kinds of DICOM answers, out of `KINDS`.
        silent: Whether answers are kept in the node's own store and go nowhere.
        associations: Largest number of associations at a time.
        megabytes: Largest object, MB.
        seconds: Time without progress after which an association or a delivery is given up.
        attempts: Tries to analyse or to deliver before an object is set aside, with pauses that grow from 2 seconds to 10 minutes.
        keep_days: Days for which the record of an answered image is kept.
        peers: Systems that may send images, and where answers go.
        rules: Routing; the first that matches decides. Chest radiographs (CR, DX) are analysed where there are none.
        tls: Certificates for TLS.
        dicomweb: DICOMweb server that is searched for images; None for none.
        fhir: FHIR server that takes answers beside the others; None for none.
        watch: Folder whose files are taken; None for none.

    Raises:
        ConfigError: Value out of range.
    """

    ae_title: str = "PNEUMOSCOPE"
    host: str = "127.0.0.1"
    port: int = 11112
    folder: str = "node"
    bundle: str = "default"
    operating_point: str = "balanced"
    workers: int = 0
    answers: tuple[str, ...] = ("sr", "sc")
    silent: bool = False
    associations: int = 32
    megabytes: int = 200
    seconds: int = 60
    attempts: int = 20
    keep_days: int = 365
    peers: tuple[Peer, ...] = ()
    rules: tuple[Rule, ...] = USUAL_RULES
    tls: TlsSettings = field(default_factory=TlsSettings)
    dicomweb: DicomWebSettings | None = None
    fhir: FhirSettings | None = None
    watch: WatchSettings | None = None

    def __post_init__(self) -> None:
        _check_title("ae_title", self.ae_title)
        for name, least, most in (
            ("port", 0, _LARGEST_PORT),
            ("workers", 0, 1024),
            ("associations", 1, 1000),
            ("megabytes", 1, 4000),
            ("seconds", 1, 3600),
            ("attempts", 1, 1000),
            ("keep_days", 1, 36500),
        ):
            _check_least(name, getattr(self, name), least, most)
        if unknown := set(self.answers) - set(KINDS) or not self.answers:
            found = ", ".join(sorted(unknown)) if isinstance(unknown, set) else "none"
            raise ConfigError(f"expected answers out of {', '.join(KINDS)}, found {found}: change it")
        takers = [peer.ae_title for peer in self.peers if peer.port]
        if twice := [title for title in takers if takers.count(title) > 1]:
            raise ConfigError(
                f"expected one port for answers to {twice[0]}, found {takers.count(twice[0])}: leave the others out"
            )
        if any(peer.tls for peer in self.peers) and not self.tls:
            raise ConfigError("expected [tls] for a peer with tls = true, found none: name the certificates")

    def check_ways(self) -> None:
        """Check that there is a way in for images, and one out for answers.

        Raises:
            ConfigError: There is none.
        """
        if not (self.peers or self.dicomweb or self.watch):
            raise ConfigError(
                "expected at least one of [[peers]], [dicomweb] and [watch] in the settings, found none: nobody may send images"
            )
        is_stored = self.fhir is not None or (self.dicomweb is not None and self.dicomweb.answers)
        if not (self.silent or is_stored or any(peer.port for peer in self.peers)):
            raise ConfigError(
                "expected a peer with a port, where answers go, found none: add its port, or keep the answers with --silent"
            )

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the node."""
        return is_loopback(self.host)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of answers that are made: those of DICOM and `FHIR`; none where they go nowhere."""
        return () if self.silent else (*self.answers, *((FHIR,) if self.fhir else ()))

    @property
    def processes(self) -> int:
        """Number of prediction processes."""
        return self.workers or len(os.sched_getaffinity(0))


def read_settings(file: Path) -> NodeSettings:
    """Settings of a TOML file; relative paths in it are relative to its folder.

    Raises:
        ConfigError: No such file, no TOML, or a setting that is unknown or out of range.
    """
    try:
        # Some editors put a byte order mark before UTF-8.
        text = file.read_text(encoding="utf-8-sig")
        table = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "a file that is no text"
        raise ConfigError(
            f"expected the node's settings at {file}, found {cause}: name another with --config"
        ) from error
    except tomllib.TOMLDecodeError as error:
        single = _SINGLE_TABLE.search(text)
        todo = f"write [[{single[1]}]], once for each" if single else "correct it"
        raise ConfigError(f"expected TOML in {file}, found an error: {error}: {todo}") from error
    found = from_table(NodeSettings, table, str(file))
    folder = file.resolve().parent
    is_file = found.bundle.endswith(".zip") or "/" in found.bundle
    tls = found.tls
    if tls:
        tls = TlsSettings(*(str(folder / name) for name in (tls.certificate, tls.key, tls.authority)))
    return replace(
        found,
        folder=str(folder / found.folder),
        bundle=str(folder / found.bundle) if is_file else found.bundle,
        tls=tls,
        dicomweb=found.dicomweb and found.dicomweb.within(folder),
        fhir=found.fhir and found.fhir.within(folder),
        watch=found.watch and found.watch.within(folder),
    )
