"""`pneumoscope pacs start | queue | audit | deidentify | compare`."""

import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pneumoscope.cli.options import NOT_MET, SOME_UNREADABLE, JsonOption, data_names, print_json
from pneumoscope.types import NOTICE

if TYPE_CHECKING:
    from pneumoscope.pacs.queue import Queue
    from pneumoscope.pacs.settings import NodeSettings

app = typer.Typer(help="Answer radiographs that a PACS sends, in the same study.", no_args_is_help=True)
audit_app = typer.Typer(help="Check the node's audit log.", no_args_is_help=True)
queue_app = typer.Typer(help="Look at the node's queue, and try again what was set aside.", no_args_is_help=True)
app.add_typer(queue_app, name="queue")
app.add_typer(audit_app, name="audit")
_ConfigOption = Annotated[Path, typer.Option("--config", help="Settings of the node (TOML).")]
_USUAL = Path("node.toml")


@app.command()
def start(
    config: _ConfigOption = _USUAL,
    silent: Annotated[
        bool,
        typer.Option(
            "--silent", help="Keep decisions in the node's own store; make no report or picture, send nothing."
        ),
    ] = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="Check all that a start needs, without a start (exit code 1: something fails)."),
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
        typer.echo(
            f"{settings.ae_title} {f'{settings.host}:{node.port}' if settings.peers else 'without a DICOM port'}"
        )
        typer.echo(f"{NOTICE} {_ways(settings, node.destinations)} Ctrl-C stops it.", err=True)
        _warn_of_no_encryption(settings)
        while not stop.wait(1) and node.failure is None:
            pass
        if node.failure:
            raise node.failure


def _ways(settings: "NodeSettings", destinations: Sequence[str]) -> str:
    """Ways in and out of the node, in sentences."""
    sources = [
        *(peer.ae_title for peer in settings.peers),
        *(["the DICOMweb server"] if settings.dicomweb else []),
        *(["the watched folder and its subfolders"] if settings.watch else []),
    ]
    port = "" if settings.peers else " No peer is named, so that no DICOM port is open."
    answers = f"Answers go to {', '.join(destinations)}."
    if settings.silent:
        answers = f"Decisions are kept in {settings.folder}; no report or picture is made, and nothing is sent."
    return f"Images come from {', '.join(sources)}.{port} {answers}"


def _warn_of_no_encryption(settings: "NodeSettings") -> None:
    if settings.peers and not settings.is_local and not settings.tls:
        typer.echo("Images travel unencrypted over the network; [tls] encrypts them.", err=True)


def _check(settings: "NodeSettings") -> None:
    """Print each check, those that failed to stderr."""
    from pneumoscope.pacs.checks import check_node

    failures = 0
    for check in check_node(settings):
        failures += not check.passed
        typer.echo(check.sentence if check.passed else f"error: {check.sentence}", err=not check.passed)
    _warn_of_no_encryption(settings)
    if failures:
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
    _check_set_aside(queue, numbers or [])
    typer.echo(f"{queue.replay(numbers)} tried again")


@queue_app.command("drop")
def drop(
    numbers: Annotated[list[int], typer.Argument(help="Numbers of images.")], config: _ConfigOption = _USUAL
) -> None:
    """Delete images that were set aside; they get no answer."""
    queue = _queue(config)
    _check_set_aside(queue, numbers)
    typer.echo(f"{queue.drop(numbers)} deleted")


@audit_app.command("verify")
def verify_log(
    file: Annotated[Path, typer.Argument(help="Audit log, audit.jsonl in the node's folder.")],
    head: Annotated[
        str, typer.Option("--head", help="Hash of a line, as printed before; shows an end that was cut off.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Check that no line of an audit log was changed, removed, inserted or moved (exit code 4: one was)."""
    from dataclasses import asdict

    from pneumoscope.pacs.audit import verify

    report = verify(file, head)
    if as_json:
        print_json(asdict(report) | {"intact": report.intact})
    else:
        typer.echo(report.sentence)
        typer.echo(f"head {report.head}")
    if not report.intact:
        raise typer.Exit(NOT_MET)


@app.command("deidentify")
def deidentify_files(
    inputs: Annotated[list[Path], typer.Argument(help="DICOM files, and folders with all below them.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the copies, apart from the originals.")],
    secret: Annotated[
        Path | None,
        typer.Option(
            "--secret",
            help="File of at least 16 characters that makes several runs agree; keep it as safe as the originals.",
            show_default=False,
        ),
    ] = None,
    include_burnt_in: Annotated[
        bool, typer.Option("--include-burnt-in", help="Copy images with text burnt in, and secondary captures, too.")
    ] = False,
) -> None:
    """Copy DICOM files without who it is, to share them."""
    from pneumoscope.pacs.deidentify import deidentify

    text = None if secret is None else secret.read_text(encoding="utf-8").strip()
    done = deidentify(inputs, out, text, include_burnt_in)
    for path, reason in done.left_out:
        typer.echo(f"left out: {path}: {reason}", err=True)
    for line in done.lines():
        typer.echo(line)
    if done.left_out:
        raise typer.Exit(SOME_UNREADABLE)


@app.command("compare")
def compare_answers(
    reports: Annotated[Path, typer.Argument(help="Table of the radiologists' reports.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the page and its data.")],
    config: _ConfigOption = _USUAL,
    class_map: Annotated[
        str,
        typer.Option(
            "--class-map",
            help="Findings of the reports by their words there, such as 'Pneumonie=pneumonia,o.B.=normal'; others are left out.",
            show_default=False,
        ),
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Compare the node's answers with the radiologists' later reports."""
    from pneumoscope.files import as_json as to_json
    from pneumoscope.pacs.comparison import compare, read_reports
    from pneumoscope.pacs.comparison_page import lead_of, seen_in_words, write_comparison

    result = compare(_queue(config).silent_answers(), read_reports(reports, data_names(class_map)))
    files = write_comparison(result, out)
    if as_json:
        typer.echo(to_json(result), nl=False)
        return
    typer.echo(f"{lead_of(result)} {seen_in_words(result)}".strip())
    for file in files:
        typer.echo(str(file))


def _check_set_aside(queue: "Queue", numbers: Sequence[int]) -> None:
    from pneumoscope.errors import InputError, listed

    known = {image.id for image, _ in queue.dead()}
    if unknown := [str(number) for number in numbers if number not in known]:
        raise InputError(
            f"expected numbers of images that were set aside, found others: {listed(unknown)}: nothing is done; "
            "pneumoscope pacs queue show lists them"
        )


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
