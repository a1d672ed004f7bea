"""The way to a Ray cluster."""

import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import Any

from pneumoscope.errors import DataError

# The cluster's makers are not told what it runs; read when Ray starts.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
_STDERR = 2
_SECONDS_TO_ANSWER = 10.0


@contextmanager
def connected(address: str | None, store_bytes: int | None = None) -> Iterator[None]:
    """Ray, for the time of the block.

    Args:
        address: Of the cluster's head, host:port, or `auto` for the one that this machine is part of; None starts one here.
        store_bytes: Of the store of one that is started here.

    Raises:
        DataError: It cannot be reached.
    """
    import ray
    import ray.data

    own: dict[str, Any] = {
        "include_dashboard": False,
        "object_store_memory": store_bytes,
        "_node_ip_address": "127.0.0.1",
    }
    with _quiet():
        try:
            _check_reachable(address)
            ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, **({} if address else own))
        except (OSError, RuntimeError, ValueError) as error:
            advice = "start it with ray start --head, or leave --address out"
            if "InvalidAuthToken" in str(error.__cause__):
                advice = (
                    "it asks for a token: set RAY_AUTH_MODE=token, and have it in ~/.ray/auth_token or RAY_AUTH_TOKEN"
                )
            raise DataError(
                f"expected a Ray cluster at {address or 'this machine'}, found {str(error).splitlines()[0]}: {advice}"
            ) from error
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        for name in ("ray", "ray.data"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            ray.shutdown()


def _check_reachable(address: str | None) -> None:
    """Ray itself tries for minutes where nobody listens."""
    host, found, port = (address or "").rpartition(":")
    if found and port.isdigit() and "/" not in host:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS_TO_ANSWER).close()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Ray's own words, on stdout and past Python on stderr, from being mistaken for ours; --debug shows them."""
    if os.environ.get("PNEUMOSCOPE_DEBUG"):
        yield
        return
    sys.stderr.flush()
    with ExitStack() as stack:
        nothing = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
        kept = os.dup(_STDERR)
        ours = stack.enter_context(os.fdopen(os.dup(kept), "w", 1, encoding="utf-8", errors="backslashreplace"))
        stack.callback(os.close, kept)
        stack.callback(os.dup2, kept, _STDERR)
        os.dup2(nothing.fileno(), _STDERR)
        stack.enter_context(redirect_stdout(nothing))
        stack.enter_context(redirect_stderr(ours))
        yield
