"""Server: runs the application until a signal stops it; accepted requests are answered first."""

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

# Seconds for which a stop waits for answers to accepted requests.
_STOP_SECONDS = 60
_BACKLOG = 512


def listen(settings: Settings) -> socket.socket:
    """Socket that the service listens on.

    Raises:
        ConfigError: The address is not this machine's, or in use.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except (OSError, OverflowError) as error:
        listening.close()
        raise ConfigError(
            f"expected to listen on {settings.host} port {settings.port}, found: {getattr(error, 'strerror', None) or error}: "
            "name another by --host and --port"
        ) from error
    return listening


def make_server(settings: Settings) -> uvicorn.Server:
    """Server of the application, ready to run.

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


def serve(settings: Settings, announce: Callable[[str], None]) -> None:
    """Serves until SIGTERM or Ctrl-C.

    Args:
        settings: Settings of the service.
        announce: Called with the address once the service can be reached.

    Raises:
        PneumoscopeError: As for `make_server` and `listen`.
    """
    with listen(settings) as held:
        server = make_server(settings)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        announce(f"http://{host}:{held.getsockname()[1]}/")
        _log_to_stderr()
        # Uvicorn raises the signal again when it has stopped: a requested stop is no failure.
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
        server.run(sockets=[held])


def _log_to_stderr() -> None:
    """Logs requests as JSON lines, and errors in words."""
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
    # It logs every byte that is wrong in a form.
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
