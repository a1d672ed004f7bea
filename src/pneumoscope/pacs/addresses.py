"""Addresses of the peers, by which they are let in."""

import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence

from pneumoscope.errors import ConfigError
from pneumoscope.pacs.settings import Peer

_log = logging.getLogger(__name__)
# Pause between two look-ups of all names, and the longest wait of a connection for one, seconds.
_LOOK_UP_EVERY, _PATIENCE = 60.0, 1.0


class PeerAddresses:
    """Addresses of the peers; their names are looked up again where an address fits none. Of use to several threads."""

    def __init__(self, peers: Sequence[Peer], clock: Callable[[], float] = time.monotonic) -> None:
        """Looks all names up.

        Args:
            peers: Peers.
            clock: Clock, seconds.

        Raises:
            ConfigError: A name is not known.
        """
        self._clock, self._lock = clock, threading.Lock()
        self._addresses = {peer: resolved(peer.host) for peer in peers}
        self._next_look_up = 0.0

    def fits(self, address: str, ae_title: str | None = None) -> bool:
        """Whether an address is one of a peer, or of a peer with some AE title.

        Where it is none, the names are looked up again, at most once a minute. Where that takes longer than a second, a peer that
        has moved fits when it tries again.
        """
        if self._fits(address, ae_title):
            return True
        self._look_up_again()
        return self._fits(address, ae_title)

    def _fits(self, address: str, ae_title: str | None) -> bool:
        return any(
            None in found or address in found
            for peer, found in self._addresses.items()
            if ae_title in (None, peer.ae_title)
        )

    def _look_up_again(self) -> None:
        """Look all names up, where that was not done within the last minute; returns after a second at most."""
        with self._lock:
            if (now := self._clock()) < self._next_look_up:
                return
            self._next_look_up = now + _LOOK_UP_EVERY
        renewal = threading.Thread(target=self._renew, name="names of peers", daemon=True)
        renewal.start()
        renewal.join(_PATIENCE)

    def _renew(self) -> None:
        for peer in self._addresses:
            try:
                self._addresses[peer] = resolved(peer.host)
            except ConfigError as error:  # such as a name server that is away: the last known ones hold
                _log.warning("%s", error)


def resolved(host: str) -> frozenset[str | None]:
    """Addresses of a peer by its host; None alone where that is empty, for any address.

    Raises:
        ConfigError: The name is not known, or no name server answers.
    """
    if not host:
        return frozenset({None})
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # a name with a part that is empty or too long is no name
        reason = error.strerror if isinstance(error, OSError) else "no name of a host"
        raise ConfigError(f"expected an address of a peer, found {host!r}: {reason}: correct peers.host") from error
    return frozenset(str(address[0]) for *_, address in found)
