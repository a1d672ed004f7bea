"""`pneumoscope pacs start | queue | audit | deidentify | compare`."""

import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pneumoscope.cli.options import JsonOption, print_json
from pneumoscope.types import NOTICE

if TYPE_CHECKING:
    from pneumoscope.pacs.queue import Queue
    from pneumoscope.pacs.settings import NodeSettings

app = typer.Typer(help="Answer radiographs that a PACS sends, in the same study.", no_args_is_help=True)
queue_app = typer.Typer(help="Look at the node's queue, and try again what was set aside.", no_args_is_help=True)
app.add_typer(queue_app, name="queue")
_ConfigOption = Annotated[Path, typer.Option("--config", help="Settings of the node (TOML).")]
_USUAL = Path("node.toml")


@app.command()
def start(
    config: _ConfigOption = _USUAL,
    silent: Annotated[bool, typer.Option("--silent", help="Keep answers in the node's own store; send none.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Check the settings, and whether the peers answer, and end.")
    ] = False,
) -> None:
    """Start the DICOM node, which answers until it is stopped."""
    from dataclasses import replace

    from pneumoscope.pacs.settings import read_settings

    settings = read_settings(config)
    settings = replace(settings, silent=settings.silent or silent)
    if check:
        _check(settings)
        return
    from pneumoscope.pacs.node import Node

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with Node(settings) as node:
        typer.echo(f"{settings.ae_title} {settings.host}:{node.port}")
        typer.echo(f"{NOTICE} {_whereto(settings)} Ctrl-C stops it.", err=True)
        if not settings.is_local and not settings.tls:
            typer.echo("Images travel unencrypted over the network; [tls] encrypts them.", err=True)
        stop.wait()


def _whereto(settings: "NodeSettings") -> str:
    if settings.silent:
        return f"Answers stay in {settings.folder}."
    names = ", ".join(peer.ae_title for peer in settings.peers if peer.port)
    return f"Answers go to {names}."


def _check(settings: "NodeSettings") -> None:
    from pneumoscope.pacs.delivery import PeerDestination, UnreachableError

    wrong = []
    for peer in settings.peers:
        if not peer.port:
            continue
        destination = PeerDestination(peer, settings)
        try:
            destination.open()
            typer.echo(f"{peer.ae_title} {peer.host}:{peer.port} takes associations")
        except UnreachableError as error:
            wrong.append(peer.ae_title)
            typer.echo(f"{error}", err=True)
        finally:
            destination.close()
    if wrong:
        raise typer.Exit(1)


@queue_app.command("show")
def show(config: _ConfigOption = _USUAL, as_json: JsonOption = False) -> None:
    """Show how many images wait, and those that were set aside after too many tries."""
    queue = _queue(config)
    counts, dead = queue.counts(), queue.dead()
    if as_json:
        print_json({"counts": counts, "dead": [_as_dict(image, destination) for image, destination in dead]})
        return
    for name, number in counts.items():
        typer.echo(f"{name:<24}{number:>8}")
    for image, destination in dead:
        what = f"no delivery to {destination}" if destination else "not analysed"
        typer.echo(f"{image.id:<8}{image.received}  {what}: {image.error}")


@queue_app.command("replay")
def replay(
    numbers: Annotated[list[int] | None, typer.Argument(help="Numbers of images (default: all).")] = None,
    config: _ConfigOption = _USUAL,
) -> None:
    """Try images that were set aside again."""
    queue = _queue(config)
    typer.echo(f"{queue.replay(numbers)} tried again")


@queue_app.command("drop")
def drop(
    numbers: Annotated[list[int], typer.Argument(help="Numbers of images.")], config: _ConfigOption = _USUAL
) -> None:
    """Delete images that were set aside; they get no answer."""
    queue = _queue(config)
    typer.echo(f"{queue.drop(numbers)} deleted")


def _queue(config: Path) -> "Queue":
    from pneumoscope.errors import ConfigError
    from pneumoscope.pacs.queue import Queue
    from pneumoscope.pacs.settings import read_settings

    folder = Path(read_settings(config).folder)
    if not folder.is_dir():
        raise ConfigError(f"expected the node's folder at {folder}, found none: start the node first")
    return Queue(folder)


def _as_dict(image: Any, destination: str) -> dict[str, Any]:
    return {
        "id": image.id,
        "received": image.received,
        "sender": image.sender,
        "destination": destination,
        "attempts": image.attempts,
        "error": image.error,
    }
