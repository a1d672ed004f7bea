"""TLS in both directions: each side shows a certificate that the other side's authority has signed."""

import ssl
from pathlib import Path

from pneumoscope.errors import ConfigError
from pneumoscope.pacs.settings import TlsSettings


def server_context(settings: TlsSettings) -> ssl.SSLContext:
    """Context in which peers must show a certificate.

    Raises:
        ConfigError: A file that is missing or no certificate.
    """
    return _context(ssl.PROTOCOL_TLS_SERVER, settings)


def client_context(settings: TlsSettings) -> ssl.SSLContext:
    """Context in which the node shows its certificate, and checks that of a peer and its host name.

    Raises:
        ConfigError: A file that is missing or no certificate.
    """
    return _context(ssl.PROTOCOL_TLS_CLIENT, settings)


def _context(protocol: int, settings: TlsSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        for path in (settings.certificate, settings.key, settings.authority):
            Path(path).open("rb").close()  # unlike ssl's, its errors name the file
        context.load_cert_chain(settings.certificate, settings.key)
        context.load_verify_locations(settings.authority)
    except OSError as error:  # an error of the certificate's text is one too
        where = f" at {error.filename}" if error.filename else ""
        raise ConfigError(
            f"expected certificate, key and authority in PEM files, found: {error.strerror or error}{where}: correct [tls]"
        ) from error
    context.verify_mode = ssl.CERT_REQUIRED
    return context
