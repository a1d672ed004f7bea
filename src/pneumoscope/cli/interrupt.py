"""Handling of Ctrl-C in commands."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import typer

INTERRUPTED = 130


@contextmanager
def interruptible(advice: str) -> Iterator[None]:
    """Context in which Ctrl-C ends the process with one line of advice on how to resume, and exit code 130."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"interrupted; to go on, {advice}", err=True)
        # sys.exit would wait for decoding threads; files on disk are whole at every moment.
        os._exit(INTERRUPTED)
