"""`pneumoscope predict`."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pneumoscope.cli.interrupt import interruptible
from pneumoscope.cli.options import (
    SOME_UNREADABLE,
    AcceptOption,
    BundleOption,
    JsonOption,
    OperatingPointOption,
    PathColumnOption,
    PrevalenceOption,
    WorkersOption,
    accepted,
    print_counts,
    print_json,
    worker_count,
)
from pneumoscope.types import NOTICE

if TYPE_CHECKING:
    from pneumoscope.bundle import Bundle
    from pneumoscope.inference.batch import Summary
    from pneumoscope.inference.inputs import Inputs
    from pneumoscope.inference.pool import WorkerPool
    from pneumoscope.inference.prediction import Prediction
    from pneumoscope.types import PredictionRequest


def predict(
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Images (JPEG, PNG, DICOM), folders, patterns, tables with a column path, or - for paths on standard input."
        ),
    ],
    bundle: BundleOption = "default",
    operating_point: OperatingPointOption = "balanced",
    prevalence: PrevalenceOption = None,
    accept: AcceptOption = None,
    evidence: Annotated[
        Path | None,
        typer.Option("--evidence", help="Folder for evidence maps, one PNG per image.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="File of predictions (.jsonl, .csv, .parquet); the same command resumes an interrupted batch.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start again if --out or its journal exists.")] = False,
    path_column: PathColumnOption = "",
    workers: WorkersOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Predict pneumonia or normal for each image, or refer or reject it with a reason.

    Exit code 3: some of the images could not be read.
    """
    from pneumoscope.bundle import find_bundle
    from pneumoscope.inference.inputs import open_inputs
    from pneumoscope.inference.pool import WorkerPool
    from pneumoscope.types import PredictionRequest

    request = PredictionRequest(operating_point, prevalence, accept=accepted(accept))
    inputs = open_inputs(paths, sys.stdin, path_column)
    total = inputs.count()
    # The journal names the bundle: it has to be the very one that the workers use, also where its file changes meanwhile.
    found = None if out is None else find_bundle(bundle)
    with WorkerPool(found or bundle, worker_count(workers, total)) as pool:
        if out is None or found is None:
            summary = _print_each(inputs, pool, request, evidence, as_json)
        else:
            summary = _write(Batch(out, inputs, total, found, overwrite), pool, request, evidence)
    if out is not None and as_json:
        print_json({"out": str(out), "images": summary.images, **_counts(summary)})
    elif out is not None:
        typer.echo(out)
    if summary.images > 1 or out is not None:
        print_counts(summary.decisions, summary.unreadable, inputs.left_out)
    if summary.unreadable:
        raise typer.Exit(SOME_UNREADABLE)


def _print_each(
    inputs: "Inputs", pool: "WorkerPool", request: "PredictionRequest", evidence: Path | None, as_json: bool
) -> "Summary":
    import json

    from pneumoscope.inference.batch import Summary, predict_files

    summary = Summary()
    with interruptible("run the same command with --out FILE, which goes on where it was broken off"):
        for predictions in predict_files(inputs.walk(), pool, request, evidence):
            for prediction in predictions:
                summary.add(prediction)
                typer.echo(json.dumps(prediction.to_dict(), ensure_ascii=False) if as_json else _line(prediction))
    summary.check_not_empty()
    if not as_json:
        typer.echo(NOTICE, err=True)
    return summary


@dataclass(frozen=True)
class Batch:
    """A batch that is written to a file.

    Attributes:
        out: File to write.
        inputs: Image files.
        total: Number of images; None where unknown.
        bundle: Bundle, the pool's.
        overwrite: Whether to begin again where the file or its journal exists.
    """

    out: Path
    inputs: "Inputs"
    total: int | None
    bundle: "Bundle"
    overwrite: bool


def _write(batch: Batch, pool: "WorkerPool", request: "PredictionRequest", evidence: Path | None) -> "Summary":
    from pneumoscope.cli.progress import display
    from pneumoscope.inference.batch import predict_into
    from pneumoscope.inference.journal import discard

    if batch.overwrite:
        discard(batch.out)
    with display("run the same command again: it goes on where it was broken off") as shown:
        shown.stage("images predicted", batch.total)
        return predict_into(batch.out, batch.inputs, batch.bundle, pool, request, evidence, shown.skip, shown.advance)


def _line(prediction: "Prediction") -> str:
    """Line about an image: decision, probability, reasons or etiologies, file."""
    why = [reason.value for reason in prediction.reasons]
    if prediction.decision == "pneumonia":
        why = [f"{name} {100 * value:.0f} %" for name, value in prediction.etiologies.items()] + why
    if prediction.pneumonia_probability is not None and not prediction.validated:
        why.append("not validated")
    probability = prediction.pneumonia_probability
    shown = "" if probability is None else f"{100 * probability:.1f} %"
    evidence = f"  {prediction.evidence}" if prediction.evidence else ""
    return f"{prediction.outcome:<10}{shown:>8}  {', '.join(why):<33}  {prediction.file}{evidence}"


def _counts(summary: "Summary") -> dict[str, Any]:
    return {"decisions": dict(summary.decisions), "reasons": dict(summary.reasons), "unreadable": summary.unreadable}
