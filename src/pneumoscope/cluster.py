"""Connection to a Ray cluster."""

import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import Any

from pneumoscope.errors import DataError

# Disables Ray's usage statistics; read when Ray starts.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
_STDERR = 2
_CONNECT_TIMEOUT_S = 10.0


@contextmanager
def ray_connection(address: str | None, store_bytes: int | None = None) -> Iterator[None]:
    """Connect to a Ray cluster for the block.

    Args:
        address: Address of the cluster's head, host:port, or `auto` for the cluster of this machine; None starts one here.
        store_bytes: Size in bytes of the object store of a cluster that is started here; Ray's default where None.

    Raises:
        DataError: Cluster that cannot be reached.
    """
    import ray
    import ray.data

    with _quiet():
        _connect(address, store_bytes)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        for name in ("ray", "ray.data"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            ray.shutdown()


def _connect(address: str | None, store_bytes: int | None) -> None:
    import ray

    local: dict[str, Any] = {
        "include_dashboard": False,
        "object_store_memory": store_bytes,
        "_node_ip_address": "127.0.0.1",
    }
    try:
        _check_reachable(address)
        ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, **({} if address else local))
    except (OSError, RuntimeError, ValueError) as error:
        advice = "start it with ray start --head, or leave --address out"
        if "InvalidAuthToken" in str(error.__cause__):
            advice = (
                "it requires a token: set RAY_AUTH_MODE=token, and put the token in ~/.ray/auth_token or RAY_AUTH_TOKEN"
            )
        raise DataError(
            f"expected a Ray cluster at {address or 'this machine'}, found {str(error).splitlines()[0]}: {advice}"
        ) from error


def _check_reachable(address: str | None) -> None:
    """Fail early where nothing listens at the address, since Ray retries for minutes."""
    host, found, port = (address or "").rpartition(":")
    if found and port.isdigit() and "/" not in host:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_TIMEOUT_S).close()


@contextmanager
def _quiet() -> Iterator[None]:
    """Discard output of Ray on stdout and on the stderr descriptor, but not Python's own stderr; --debug shows it."""
    if os.environ.get("PNEUMOSCOPE_DEBUG"):
        yield
        return
    sys.stderr.flush()
    with ExitStack() as stack:
        discarded = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
        saved = os.dup(_STDERR)
        stderr = stack.enter_context(os.fdopen(os.dup(saved), "w", 1, encoding="utf-8", errors="backslashreplace"))
        stack.callback(os.close, saved)
        stack.callback(os.dup2, saved, _STDERR)
        os.dup2(discarded.fileno(), _STDERR)
        stack.enter_context(redirect_stdout(discarded))
        stack.enter_context(redirect_stderr(stderr))
        yield
