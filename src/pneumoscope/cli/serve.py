"""`pneumoscope serve`."""

from pathlib import Path
from typing import Annotated

import typer

from pneumoscope.cli.options import BundleOption
from pneumoscope.types import NOTICE

_MEGABYTE = 2**20


def serve(
    bundle: BundleOption = "default",
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; 0.0.0.0 for the whole network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 for any that is free.")] = 8000,
    workers: Annotated[
        int, typer.Option("--workers", min=0, help="Processes that judge; 0 for as many as there are cores.")
    ] = 0,
    queue: Annotated[
        int, typer.Option("--queue", min=1, help="Images that may wait; past it callers are told so.")
    ] = 64,
    megabytes: Annotated[int, typer.Option("--megabytes", min=1, help="Of the largest image file that is taken.")] = 64,
    history: Annotated[
        Path | None,
        typer.Option(
            "--history", help="SQLite file that keeps what was decided; else nothing is kept.", show_default=False
        ),
    ] = None,
    history_required: Annotated[
        bool,
        typer.Option("--history-required", help="Answer 503 where a decision cannot be kept in --history."),
    ] = False,
    keys: Annotated[
        Path | None,
        typer.Option("--api-keys", help="File of keys; else everybody who reaches it may ask.", show_default=False),
    ] = None,
    new_key: Annotated[
        str | None,
        typer.Option(
            "--new-key", help="Add a key of this name to --api-keys, show it once, and end.", show_default=False
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", help="Another name that it is called by; repeat it.", show_default=False),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-origin", help="Web pages elsewhere that may ask, https://...; repeat it.", show_default=False
        ),
    ] = None,
    request_log: Annotated[
        bool,
        typer.Option("--request-log/--no-request-log", help="A line on stderr per request: ids, hashes, decisions."),
    ] = True,
) -> None:
    """Open the workbench: a page to drop images on, and an HTTP service for other programs."""
    from dataclasses import replace

    from pneumoscope.errors import ConfigError
    from pneumoscope.serving.settings import Settings

    if new_key is not None:
        from pneumoscope.serving.keys import new_key as make_key

        if keys is None:
            raise ConfigError(
                "expected --api-keys FILE with --new-key, found none: name the file that gets the new key's hash"
            )
        typer.echo(make_key(keys, new_key))
        return

    from pneumoscope.serving.server import serve as run

    settings = Settings(
        bundle=bundle,
        host=host,
        port=port,
        queue=queue,
        images=min(32, queue),
        image_bytes=megabytes * _MEGABYTE,
        keys=keys,
        origins=tuple(allow_origin or ()),
        hosts=tuple(allow_host or ()),
        history=history,
        history_required=history_required,
        request_log=request_log,
    )
    settings = replace(settings, workers=workers) if workers else settings

    def tell(address: str) -> None:
        typer.echo(address)
        typer.echo(f"{NOTICE} Ctrl-C stops it.", err=True)
        if not settings.is_local and keys is None:
            typer.echo("Everybody on the network may ask it; --api-keys FILE asks for a key.", err=True)

    try:
        run(settings, tell)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
