"""`pneumoscope serve`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pneumoscope.cli.options import AcceptOption, BundleOption, accepted
from pneumoscope.types import NOTICE

if TYPE_CHECKING:
    from pneumoscope.serving.settings import Settings

_MEGABYTE = 2**20
_HostOption = Annotated[str, typer.Option("--host", help="Address to listen on; 0.0.0.0 for the whole network.")]
_PortOption = Annotated[int, typer.Option("--port", min=0, max=65535, help="0 for any that is free.")]
_WorkersOption = Annotated[int, typer.Option("--workers", min=0, help="Prediction processes; 0 for one per core.")]
_QueueOption = Annotated[
    int, typer.Option("--queue", min=1, help="Images that may wait; further ones are refused (503).")
]
_SizeOption = Annotated[int, typer.Option("--megabytes", min=1, help="Of the largest image file that is taken.")]
_HistoryOption = Annotated[
    Path | None,
    typer.Option(
        "--history", help="SQLite file that keeps what was decided; else nothing is kept.", show_default=False
    ),
]
_RequiredOption = Annotated[
    bool,
    typer.Option("--history-required", help="Refuse (503) where a decision cannot be kept in --history."),
]
_KeysOption = Annotated[
    Path | None,
    typer.Option("--api-keys", help="File of keys; else everybody who reaches it may ask.", show_default=False),
]
_NewKeyOption = Annotated[
    str | None,
    typer.Option("--new-key", help="Add a key of this name to --api-keys, show it once, and end.", show_default=False),
]
_HostsOption = Annotated[
    list[str] | None,
    typer.Option("--allow-host", help="Another name that it is called by; repeat it.", show_default=False),
]
_OriginsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-origin", help="Web pages elsewhere that may ask, https://...; repeat it.", show_default=False
    ),
]
_AdaptationsOption = Annotated[
    Path | None,
    typer.Option(
        "--adaptations",
        help="Folder for adaptations: who reaches the service may adapt its bundle to labelled images, and switch to it.",
        show_default=False,
    ),
]
_LogOption = Annotated[
    bool,
    typer.Option("--request-log/--no-request-log", help="A line on stderr per request: ids, hashes, decisions."),
]


def serve(
    bundle: BundleOption = "default",
    host: _HostOption = "127.0.0.1",
    port: _PortOption = 8000,
    workers: _WorkersOption = 0,
    queue: _QueueOption = 64,
    megabytes: _SizeOption = 64,
    history: _HistoryOption = None,
    history_required: _RequiredOption = False,
    keys: _KeysOption = None,
    new_key: _NewKeyOption = None,
    allow_host: _HostsOption = None,
    allow_origin: _OriginsOption = None,
    accept: AcceptOption = None,
    adaptations: _AdaptationsOption = None,
    request_log: _LogOption = True,
) -> None:
    """Open the workbench: a page to drop films on, and an HTTP service for other programs."""
    from pneumoscope.serving.settings import Settings

    if new_key is not None:
        _make_key(keys, new_key)
        return
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
        accept=accepted(accept),
        adaptations=adaptations,
        request_log=request_log,
        **({"workers": workers} if workers else {}),
    )
    _run(settings)


def _make_key(keys: Path | None, name: str) -> None:
    from pneumoscope.errors import ConfigError
    from pneumoscope.serving.keys import new_key

    if keys is None:
        raise ConfigError(
            "expected --api-keys FILE with --new-key, found none: name the file that gets the new key's hash"
        )
    typer.echo(new_key(keys, name))


def _run(settings: "Settings") -> None:
    from pneumoscope.serving.server import serve as run

    def announce(address: str) -> None:
        typer.echo(address)
        typer.echo(f"{NOTICE} Ctrl-C stops it.", err=True)
        if not settings.is_local and settings.keys is None:
            typer.echo("Everybody on the network may ask it; --api-keys FILE asks for a key.", err=True)

    try:
        run(settings, announce)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
