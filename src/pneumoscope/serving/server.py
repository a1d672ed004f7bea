"""Runs the service until it is told to stop; what was accepted by then is answered."""

import logging
import signal
import socket
import sys
from collections.abc import Callable

import uvicorn

from pneumoscope.errors import ConfigError
from pneumoscope.serving.app import create_app
from pneumoscope.serving.connection import Connection
from pneumoscope.serving.settings import Settings

# Seconds that a stop waits for answers to those that were accepted.
_STOP_SECONDS = 60
_BACKLOG = 512


def listen(settings: Settings) -> socket.socket:
    """The socket that the service listens on.

    Raises:
        ConfigError: The address is not this machine's, or in use.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    held = socket.socket(family)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held.bind((settings.host, settings.port))
    except (OSError, OverflowError) as error:
        held.close()
        raise ConfigError(
            f"expected to listen on {settings.host} port {settings.port}, found: {getattr(error, 'strerror', None) or error}: "
            "name another by --host and --port"
        ) from error
    return held


def make_server(settings: Settings) -> uvicorn.Server:
    """The service, ready to run.

    Raises:
        PneumoscopeError: The bundle, the file of keys or the history is not as expected.
    """
    config = uvicorn.Config(
        create_app(settings),
        http=Connection,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    return uvicorn.Server(config)


def serve(settings: Settings, tell: Callable[[str], None]) -> None:
    """Serves until SIGTERM or Ctrl-C.

    Args:
        settings: How.
        tell: Told the address, once everything is as it should be.

    Raises:
        PneumoscopeError: As for `make_server` and `listen`.
    """
    server = make_server(settings)
    with listen(settings) as held:
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        tell(f"http://{host}:{held.getsockname()[1]}/")
        _log_to_stderr()
        # Uvicorn hands the signal on when it has stopped: to have been told to stop is no failure.
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
        server.run(sockets=[held])


def _log_to_stderr() -> None:
    """Requests as JSON, a line each; what goes wrong in words."""
    for name, form, level in (
        ("pneumoscope.requests", "%(message)s", logging.INFO),
        ("pneumoscope.serving", "%(levelname)s %(message)s", logging.WARNING),
        ("uvicorn", "%(levelname)s %(message)s", logging.ERROR),
    ):
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter(form))
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
    # It tells every byte that is wrong in a form.
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
