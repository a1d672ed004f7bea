"""The command line: parse, call, print. Progress goes to stderr, results to stdout.

Exit codes: 0 done, 1 an error that the user can act on, in one line, 2 usage, 3 images that could not be
read, 4 a requirement that is not met, 130 interrupted.
"""

import os
import sys

import typer

from pneumoscope.cli import adapt as adapt_command
from pneumoscope.cli import bundle as bundle_commands
from pneumoscope.cli import data as data_commands
from pneumoscope.cli import evaluate as evaluate_command
from pneumoscope.cli import models as models_command
from pneumoscope.cli import pacs as pacs_commands
from pneumoscope.cli import predict as predict_command
from pneumoscope.cli import report as report_command
from pneumoscope.cli import scale as scale_commands
from pneumoscope.cli import serve as serve_command
from pneumoscope.cli import stress as stress_command
from pneumoscope.cli import study as study_command
from pneumoscope.cli import train as train_command
from pneumoscope.errors import PneumoscopeError
from pneumoscope.types import NOTICE

app = typer.Typer(
    name="pneumoscope",
    help=f"Detects pneumonia in chest X-rays of children. {NOTICE}",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(data_commands.app, name="data")
app.command(name="models")(models_command.models)
app.command(name="study")(study_command.study)
app.command(name="train")(train_command.train)
app.command(name="predict")(predict_command.predict)
app.add_typer(report_command.app, name="report")
app.command(name="adapt")(adapt_command.adapt)
app.command(name="calibrate")(adapt_command.calibrate)
app.add_typer(bundle_commands.app, name="bundle")
app.command(name="serve")(serve_command.serve)
app.add_typer(pacs_commands.app, name="pacs")
app.add_typer(scale_commands.app, name="scale")
app.command(name="evaluate")(evaluate_command.evaluate)
app.command(name="stress")(stress_command.stress)


# Package to the extra that installs it; all others belong to `train`.
_EXTRAS = {
    "fsspec": "scale",
    "matplotlib": "evaluate",
    "pyarrow": "parquet",
    "ray": "scale",
    "skimage": "evaluate",
    "sklearn": "evaluate",
    **dict.fromkeys(("dicognito", "dicomweb_client", "fhir", "highdicom", "pynetdicom"), "pacs"),
    **dict.fromkeys(
        ("fastapi", "httptools", "multipart", "prometheus_client", "pydantic", "starlette", "uvicorn"), "serve"
    ),
}
# Commands that need the whole of an extra.
_EXTRA_OF_COMMAND = {"pacs": "pacs", "scale": "scale", "study": "train", "train": "train"}


def _extra_of(package: str) -> str:
    """Extra that installs a missing package, with all others that the command needs."""
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    return _EXTRA_OF_COMMAND.get(command) or _EXTRAS.get(package, "train")


def _version(requested: bool) -> None:
    if requested:
        from pneumoscope import __version__

        typer.echo(f"pneumoscope {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
) -> None:
    os.environ["PNEUMOSCOPE_DEBUG"] = "1" if debug else ""


def main() -> None:
    """Runs the command line and ends the process with its exit code."""
    try:
        app(standalone_mode=True)
    except PneumoscopeError as error:
        if os.environ.get("PNEUMOSCOPE_DEBUG"):
            raise
        typer.echo(f"error: {' '.join(str(error).split())}", err=True)
        sys.exit(1)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("pneumoscope") or os.environ.get("PNEUMOSCOPE_DEBUG"):
            raise
        typer.echo(
            f"error: expected the package {error.name}, found it missing: "
            f"pip install 'pneumoscope[{_extra_of(error.name or '')}]'",
            err=True,
        )
        sys.exit(1)
    except BrokenPipeError:
        # The reader of the output, such as head, has closed the pipe: no error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        if os.environ.get("PNEUMOSCOPE_DEBUG"):
            raise
        path = f" {error.filename}" if error.filename else ""
        typer.echo(f"error: cannot use{path}: {error.strerror or error}; check path and disk", err=True)
        sys.exit(1)
