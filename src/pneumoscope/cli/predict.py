"""`pneumoscope predict`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pneumoscope.cli.interrupt import interruptible
from pneumoscope.cli.options import (
    SOME_UNREADABLE,
    BundleOption,
    JsonOption,
    OperatingPointOption,
    PrevalenceOption,
    WorkersOption,
    count_of_workers,
    tell_counts,
)
from pneumoscope.types import NOTICE

if TYPE_CHECKING:
    from pneumoscope.inference.batch import Asked, Summary
    from pneumoscope.inference.inputs import Inputs


def predict(
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Images (JPEG, PNG, DICOM), folders, patterns, tables with a column path, or - for a list on standard input."
        ),
    ],
    bundle: BundleOption = "default",
    operating_point: OperatingPointOption = "balanced",
    prevalence: PrevalenceOption = None,
    evidence: Annotated[
        Path | None,
        typer.Option("--evidence", help="Folder for pictures of where each answer comes from.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="A .jsonl, .csv or .parquet file; the same command goes on after a break.", show_default=False
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin anew where --out or its journal exists.")
    ] = False,
    workers: WorkersOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Say of each image whether it shows pneumonia, or why it cannot be said.

    Exit code 3 says that some of the images could not be read.
    """
    from pneumoscope.inference.batch import Asked
    from pneumoscope.inference.inputs import open_inputs

    asked = Asked(bundle, operating_point, prevalence, evidence)
    inputs = open_inputs(paths, sys.stdin)
    total = inputs.count()
    workers = count_of_workers(workers, total)
    if out is None:
        summary = _print_each(inputs, asked, workers, as_json)
    else:
        summary = _write(out, inputs, asked, workers, total, overwrite)
        if as_json:
            from pneumoscope.cli.options import print_json

            print_json({"out": str(out), "images": summary.images, **_counts(summary)})
        else:
            typer.echo(out)
    if summary.images > 1 or out is not None:
        tell_counts(summary.decisions, summary.unreadable)
    if summary.unreadable:
        raise typer.Exit(SOME_UNREADABLE)


def _print_each(inputs: "Inputs", asked: "Asked", workers: int, as_json: bool) -> "Summary":
    import json

    from pneumoscope.inference.batch import Summary, predict_files

    summary = Summary()
    with interruptible("run the same command with --out FILE, which goes on where it was broken off"):
        for predictions in predict_files(inputs.walk(), asked, workers):
            for prediction in predictions:
                record = prediction.as_json()
                summary.add(record)
                typer.echo(json.dumps(record, ensure_ascii=False) if as_json else _line(record))
    summary.check_not_empty()
    if not as_json:
        typer.echo(NOTICE, err=True)
    return summary


def _write(out: Path, inputs: "Inputs", asked: "Asked", workers: int, total: int | None, overwrite: bool) -> "Summary":
    from pneumoscope.cli.progress import display
    from pneumoscope.inference.batch import predict_into
    from pneumoscope.inference.journal import discard

    if overwrite:
        discard(out)
    with display("run the same command again: it goes on where it was broken off") as shown:
        shown.stage("images judged", total)
        return predict_into(out, inputs, asked, workers, shown.skip, shown.advance)


def _line(record: dict[str, Any]) -> str:
    """One image for human readers: decision, probability, reason or kind, file."""
    decision, chance = record["decision"], record["pneumonia_probability"]
    why = ", ".join(record["reasons"])
    kinds = {k: v for k, v in (record["class_probability"] or {}).items() if k not in ("normal", "pneumonia")}
    if decision == "pneumonia" and kinds:
        why = ", ".join(f"{name} {100 * value:.0f} %" for name, value in kinds.items())
    shown = "" if chance is None else f"{100 * chance:.1f} %"
    evidence = f"  {record['evidence']}" if record["evidence"] else ""
    return f"{decision:<10}{shown:>8}  {why:<34}{record['file']}{evidence}"


def _counts(summary: "Summary") -> dict[str, Any]:
    return {"decisions": dict(summary.decisions), "reasons": dict(summary.reasons), "unreadable": summary.unreadable}
