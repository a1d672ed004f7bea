"""What Ctrl-C does to a command."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import typer

INTERRUPTED = 130


@contextmanager
def interruptible(advice: str) -> Iterator[None]:
    """Ctrl-C ends the block, and the process, with one line that says how to go on, and exit code 130."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"interrupted; to go on, {advice}", err=True)
        # Not sys.exit, which would wait for decoding threads: what is on disk is whole at every moment.
        os._exit(INTERRUPTED)
