"""`pneumoscope evaluate`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pneumoscope.cli.options import (
    DataOption,
    InceptionOption,
    JsonOption,
    LedgerOption,
    SkipOption,
    WorkersOption,
    print_json,
    worker_count,
)
from pneumoscope.types import Split

if TYPE_CHECKING:
    from pneumoscope.assessment.evaluation import Evaluation


def evaluate(
    run: Annotated[
        Path | None,
        typer.Argument(help="A finished run folder; the detector that ships with the package where none is named."),
    ] = None,
    bundle: Annotated[
        str | None,
        typer.Option("--bundle", help="A bundle's path, or default or nano, instead of a run.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Of a bundle's report; evaluation/BUNDLE/SPLIT where none is named."),
    ] = None,
    data: DataOption = None,
    split: Annotated[Split, typer.Option("--split", help="Whose films.")] = Split.TEST,
    why: Annotated[
        str, typer.Option("--why", help="For the ledger: why the test films are looked at.")
    ] = "evaluate command",
    inception_weights: InceptionOption = None,
    skip_unreadable: SkipOption = False,
    ledger: LedgerOption = None,
    workers: WorkersOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Measure a trained network or a bundle, every number with its interval; writes report.json, .md and .html."""
    from pneumoscope.training.allocator import keep_freed_memory

    keep_freed_memory()
    from pneumoscope.errors import ConfigError

    if run is not None and (bundle is not None or out is not None):
        raise ConfigError("expected a run folder, or --bundle and --out, found both: leave one out")
    folder = (
        run / "evaluation" / split.value
        if run
        else out or Path("evaluation") / Path(bundle or "default").stem / split.value
    )
    options = EvaluationOptions(data, split, why, ledger, inception_weights, skip_unreadable)
    record = _run(run, options) if run else _bundle(bundle or "default", folder, options, workers)
    if as_json:
        print_json(record)
    else:
        typer.echo((folder / "report.md").read_text(encoding="utf-8").rstrip("\n"))
        typer.echo(f"\n{folder / 'report.html'}")


@dataclass(frozen=True)
class EvaluationOptions:
    """Options that runs and bundles have in common; named as on the command line."""

    data: Path | None
    split: Split
    why: str
    ledger: Path | None
    inception_weights: Path | None
    skip_unreadable: bool

    def evaluation(self, synthetic: bool) -> "Evaluation":
        """Evaluation with these options and the ledger in use."""
        from pneumoscope.assessment.evaluation import Evaluation
        from pneumoscope.assessment.ledger import ledger_in_use

        return Evaluation(self.split, self.why, ledger_in_use(self.ledger), synthetic)


def _run(run: Path, options: EvaluationOptions) -> dict[str, Any]:
    from pneumoscope.assessment.runs import evaluate_run
    from pneumoscope.cli.progress import display
    from pneumoscope.data.locate import locate
    from pneumoscope.study.experiments import EXPERIMENTS

    titles = {each.name: each.title for each in EXPERIMENTS}
    with display() as shown:
        location = locate(options.data, shown.report)
        evaluation = options.evaluation(location.synthetic)
        weights, skip = options.inception_weights, options.skip_unreadable
        return evaluate_run(run, location, evaluation, shown.report, titles, weights, skip)


def _bundle(name: str, folder: Path, options: EvaluationOptions, workers: int) -> dict[str, Any]:
    from pneumoscope.assessment.bundles import evaluate_bundle
    from pneumoscope.bundle import find_bundle
    from pneumoscope.cli.progress import display
    from pneumoscope.data.locate import locate
    from pneumoscope.inference.pool import WorkerPool

    bundle = find_bundle(name)
    with display() as shown:
        location = locate(options.data, shown.report)
        evaluation = options.evaluation(location.synthetic)
        with WorkerPool(bundle, worker_count(workers, None)) as pool:
            return evaluate_bundle(bundle, pool, location, evaluation, shown.report, folder, options.skip_unreadable)
