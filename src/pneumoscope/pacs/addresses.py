"""Addresses of the peers, by which they are let in."""

import socket

from pneumoscope.errors import ConfigError


def resolved(host: str) -> frozenset[str | None]:
    """Addresses of a peer by its host; None alone where that is empty, for any address.

    Raises:
        ConfigError: The name is not known, or nobody can be asked for it.
    """
    if not host:
        return frozenset({None})
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # a name with a part that is empty or too long is no name
        reason = error.strerror if isinstance(error, OSError) else "no name of a host"
        raise ConfigError(f"expected an address of a peer, found {host!r}: {reason}: correct peers.host") from error
    return frozenset(str(address[0]) for *_, address in found)
