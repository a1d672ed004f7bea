"""Ctrl-C ends a command at once, with a word on how to go on."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import typer

INTERRUPTED = 130


@contextmanager
def told_how_to_resume(advice: str) -> Iterator[None]:
    """Turns an interruption into one line and exit code 130.

    The process ends without waiting for decoding threads: what is on disk is whole at every moment.
    """
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"\ninterrupted; to go on, {advice}", err=True)
        os._exit(INTERRUPTED)
