"""`pneumoscope report`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from pneumoscope.cli.options import (
    SOME_UNREADABLE,
    AcceptOption,
    BundleOption,
    JsonOption,
    PathColumnOption,
    WorkersOption,
    accepted,
    print_counts,
    print_json,
    worker_count,
)


def report(
    paths: Annotated[list[str], typer.Argument(help="Images, folders, patterns, tables, or -, as for predict.")],
    out: Annotated[Path, typer.Option("--out", help="HTML page to write.")] = Path("report.html"),
    bundle: BundleOption = "default",
    operating_point: Annotated[str, typer.Option("--operating-point", help="As for predict.")] = "balanced",
    prevalence: Annotated[
        float | None, typer.Option("--prevalence", help="As for predict.", show_default=False)
    ] = None,
    accept: AcceptOption = None,
    path_column: PathColumnOption = "",
    workers: WorkersOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Write an HTML page of predictions: decisions, evidence maps and rejections in one file.

    Exit code 3: some of the images could not be read.
    """
    from pneumoscope.bundle import find_bundle
    from pneumoscope.cli.progress import display
    from pneumoscope.inference.inputs import open_inputs
    from pneumoscope.inference.pool import WorkerPool
    from pneumoscope.inference.report import write_report
    from pneumoscope.types import PredictionRequest

    inputs = open_inputs(paths, sys.stdin, path_column)
    total = inputs.count()
    with display() as shown:
        shown.stage("images predicted", total)
        found, request = find_bundle(bundle), PredictionRequest(operating_point, prevalence, accept=accepted(accept))
        with WorkerPool(found, worker_count(workers, total)) as pool:
            summary = write_report(out, inputs, found, pool, request, shown.advance)
    if as_json:
        print_json(
            {"page": str(out), "images": summary.images, "decisions": dict(summary.decisions)}
            | {"unreadable": summary.unreadable}
        )
    else:
        print_counts(summary.decisions, summary.unreadable, inputs.left_out)
        typer.echo(out)
    if summary.unreadable:
        raise typer.Exit(SOME_UNREADABLE)
