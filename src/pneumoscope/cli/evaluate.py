"""`pneumoscope evaluate`."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pneumoscope.cli.options import (
    NOT_MET,
    AcceptOption,
    DataOption,
    InceptionOption,
    JsonOption,
    LedgerOption,
    SkipOption,
    WorkersOption,
    accepted,
    print_json,
    show_names_taken,
    takes_data_names,
    worker_count,
)
from pneumoscope.types import Split

if TYPE_CHECKING:
    from pneumoscope.assessment.evaluation import Evaluation
    from pneumoscope.data.sources import DataNames


@takes_data_names
def evaluate(
    run: Annotated[
        Path | None,
        typer.Argument(help="Finished run folder (default: the bundle `default`)."),
    ] = None,
    bundle: Annotated[
        str | None,
        typer.Option(
            "--bundle", help="Bundle to evaluate instead of a run: default, nano, best, or a path.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder of a bundle's report (default: evaluation/BUNDLE/SPLIT, or evaluation/BUNDLE/all for images without splits).",
        ),
    ] = None,
    data: DataOption = None,
    *,
    names: "DataNames",
    split: Annotated[
        Split | None,
        typer.Option(
            "--split",
            help="Split to evaluate (default: test; for a bundle all images where the data set has no test split).",
            show_default=False,
        ),
    ] = None,
    require: Annotated[
        list[str] | None,
        typer.Option(
            "--require",
            help="Minimum of a measure of a bundle's decisions, such as sensitivity=0.95; exit code 4 if it is not met (repeatable).",
            show_default=False,
        ),
    ] = None,
    why: Annotated[
        str, typer.Option("--why", help="Reason for evaluating on test images, for the ledger.")
    ] = "evaluate command",
    accept: AcceptOption = None,
    inception_weights: InceptionOption = None,
    skip_unreadable: SkipOption = False,
    ledger: LedgerOption = None,
    workers: WorkersOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Measure a trained network or a bundle, with intervals, and write report.json, .md and .html."""
    from pneumoscope.training.allocator import keep_freed_memory

    keep_freed_memory()
    from pneumoscope.errors import ConfigError
    from pneumoscope.evaluation.acceptance import parse_requirements

    if run is not None and (bundle is not None or out is not None or require or accept):
        raise ConfigError(
            "expected a run folder, or --bundle, --out, --require and --accept, found both: leave one out"
        )
    options = EvaluationOptions(
        data,
        split,
        why,
        ledger,
        inception_weights,
        skip_unreadable,
        parse_requirements(require or ()),
        accepted(accept),
        names,
    )
    if run:
        folder = run / "evaluation" / (split or Split.TEST).value
        record = _run(run, options)
    else:
        record, folder = _bundle(bundle or "default", out, options, workers)
    if as_json:
        print_json(record)
    else:
        typer.echo((folder / "report.md").read_text(encoding="utf-8").rstrip("\n"))
        typer.echo(f"\n{folder / 'report.html'}")
    if "acceptance" in record and record["acceptance"]["required"]:
        _print_verdict(record["acceptance"])


def _print_verdict(acceptance: dict[str, Any]) -> None:
    """Prints the verdict on the requirements; exit code 4 where one is not met."""
    from pneumoscope.assessment.acceptance import verdict

    typer.echo(verdict(acceptance), err=True)
    if not all(each["met"] for each in acceptance["required"]):
        raise typer.Exit(NOT_MET)


@dataclass(frozen=True)
class EvaluationOptions:
    """Options named as on the command line; a run has no use for `required` and `accept`."""

    data: Path | None
    split: Split | None
    why: str
    ledger: Path | None
    inception_weights: Path | None
    skip_unreadable: bool
    required: dict[str, float]
    accept: tuple[str, ...]
    names: "DataNames"

    def evaluation(self, synthetic: bool, usual: Split | None = Split.TEST) -> "Evaluation":
        """Evaluation with these options and the ledger in use, on the `usual` split where none is named."""
        from pneumoscope.assessment.evaluation import Evaluation
        from pneumoscope.assessment.ledger import ledger_in_use

        ledger = ledger_in_use(self.ledger)
        return Evaluation(self.split or usual, self.why, ledger, synthetic, self.required, self.accept)


def _run(run: Path, options: EvaluationOptions) -> dict[str, Any]:
    from pneumoscope.assessment.runs import evaluate_run
    from pneumoscope.cli.progress import display
    from pneumoscope.data.locate import locate
    from pneumoscope.study.experiments import EXPERIMENTS

    titles = {each.name: each.title for each in EXPERIMENTS}
    with display() as shown:
        location = replace(locate(options.data, shown.report), names=options.names)
        evaluation = options.evaluation(location.synthetic)
        weights, skip = options.inception_weights, options.skip_unreadable
        return evaluate_run(run, location, evaluation, shown.report, titles, weights, skip)


def _bundle(name: str, out: Path | None, options: EvaluationOptions, workers: int) -> tuple[dict[str, Any], Path]:
    """Report of a bundle, and its folder."""
    from pneumoscope.assessment.bundles import evaluate_bundle
    from pneumoscope.bundle import find_bundle
    from pneumoscope.cli.progress import display
    from pneumoscope.data.locate import locate
    from pneumoscope.errors import ConfigError
    from pneumoscope.inference.pool import WorkerPool

    bundle = find_bundle(name)
    if bundle.manifest.scheme.is_own and options.split:
        raise ConfigError(
            f"expected a bundle for normal and pneumonia with --split, found one for {bundle.manifest.scheme}: leave --split out"
        )
    with display() as shown:
        location = replace(locate(options.data, shown.report), names=options.names)
        scheme = bundle.manifest.scheme
        source = location.open(scheme.positive, scheme.negative)
        show_names_taken(source)
        # A site's own classes are known to the acceptance test alone.
        tested = not scheme.is_own and (options.split or any(image.split is Split.TEST for image in source.images))
        evaluation = options.evaluation(location.synthetic, Split.TEST if tested else None)
        folder = out or Path("evaluation") / Path(name).stem / evaluation.images
        with WorkerPool(bundle, worker_count(workers, None)) as pool:
            record = evaluate_bundle(bundle, pool, location, evaluation, shown.report, folder, options.skip_unreadable)
    return record, folder
