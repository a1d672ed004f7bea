"""`pneumoscope serve`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pneumoscope.cli.options import AcceptOption, BundleOption, accepted
from pneumoscope.types import NOTICE

if TYPE_CHECKING:
    from pneumoscope.serving.settings import Settings

_MEGABYTE = 2**20
_HostOption = Annotated[str, typer.Option("--host", help="Address to listen on; 0.0.0.0 for all networks.")]
_PortOption = Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 for a free one.")]
_WorkersOption = Annotated[
    int, typer.Option("--workers", min=0, help="Number of prediction processes; 0 for one per core.")
]
_QueueOption = Annotated[
    int, typer.Option("--queue", min=1, help="Maximum number of waiting images; further ones are refused (503).")
]
_SizeOption = Annotated[int, typer.Option("--megabytes", min=1, help="Maximum size of an image file, MB.")]
_HistoryOption = Annotated[
    Path | None,
    typer.Option("--history", help="SQLite file for decisions (default: none are kept).", show_default=False),
]
_RequiredOption = Annotated[
    bool,
    typer.Option("--history-required", help="Refuse requests (503) whose decisions cannot be kept in --history."),
]
_FilmsOption = Annotated[
    Path | None,
    typer.Option(
        "--keep-films",
        help="Folder for the images, kept with --history: a worklist is found again on another machine (default: none are kept).",
        show_default=False,
    ),
]
_NodeOption = Annotated[
    Path | None,
    typer.Option(
        "--node",
        help="Settings file of a DICOM node (pacs start), or its folder: shows its queue; opens studies from the server in [dicomweb].",
        show_default=False,
    ),
]
_KeysOption = Annotated[
    Path | None,
    typer.Option("--api-keys", help="File of API keys (default: none are needed).", show_default=False),
]
_NewKeyOption = Annotated[
    str | None,
    typer.Option(
        "--new-key", help="Name of a new key, which is added to --api-keys and shown once.", show_default=False
    ),
]
_HostsOption = Annotated[
    list[str] | None,
    typer.Option("--allow-host", help="Further host name of the service (repeatable).", show_default=False),
]
_OriginsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-origin",
        help="Origin of web pages that may send requests, https://... (repeatable).",
        show_default=False,
    ),
]
_AdaptationsOption = Annotated[
    Path | None,
    typer.Option(
        "--adaptations",
        help="Folder for adaptations: whoever reaches the service may adapt its bundle and switch to the result.",
        show_default=False,
    ),
]
_LogOption = Annotated[
    bool,
    typer.Option("--request-log/--no-request-log", help="Log a line per request on stderr: ids, hashes and decisions."),
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
    keep_films: _FilmsOption = None,
    node: _NodeOption = None,
    keys: _KeysOption = None,
    new_key: _NewKeyOption = None,
    allow_host: _HostsOption = None,
    allow_origin: _OriginsOption = None,
    accept: AcceptOption = None,
    adaptations: _AdaptationsOption = None,
    request_log: _LogOption = True,
) -> None:
    """Serve the workbench, a page for reading images, and an HTTP interface."""
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
        kept_images=keep_films,
        node=node,
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
