"""`pneumoscope study`."""

from pathlib import Path
from typing import Annotated

import typer

from pneumoscope.cli.options import (
    DataOption,
    EpochsOption,
    InceptionOption,
    JobsOption,
    JsonOption,
    LedgerOption,
    LimitOption,
    ProcessesOption,
    RayOption,
    SkipOption,
    launch_processes,
    print_json,
)
from pneumoscope.types import SYNTHETIC_NOTICE


def study(
    data: DataOption = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of the study; a second run resumes it.")] = Path(
        "runs/study"
    ),
    only: Annotated[
        str, typer.Option("--only", help="Experiments, separated by commas, with those they build on (default: all).")
    ] = "",
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, help="Number of trainings per experiment, with seeds 0, 1, ...")
    ] = 1,
    epochs: EpochsOption = None,
    limit: LimitOption = None,
    precision: Annotated[
        str, typer.Option("--precision", help="Precision of the training: auto, fp32 or bf16.")
    ] = "auto",
    inception_weights: InceptionOption = None,
    skip_unreadable: SkipOption = False,
    processes: ProcessesOption = 1,
    jobs: JobsOption = 1,
    address: RayOption = None,
    ledger: LedgerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run the whole study: overview, four networks, evaluation, comparison with the slides.

    Without data and a network to download them it runs on drawn phantoms, and says so.
    """
    from pneumoscope.training.allocator import keep_freed_memory

    keep_freed_memory()
    launch_processes(processes)
    from pneumoscope.assessment.ledger import ledger_in_use
    from pneumoscope.cli.progress import display
    from pneumoscope.data.locate import locate_or_make_phantoms
    from pneumoscope.study.study import Study, StudyPlan, run_study
    from pneumoscope.training import distributed
    from pneumoscope.training.callbacks import Callbacks
    from pneumoscope.training.jobs import Workers

    workers = Workers(jobs, address)
    names = tuple(name.strip() for name in only.split(",") if name.strip())
    plan = StudyPlan(names, seeds, epochs, limit, precision, skip_unreadable, inception_weights)
    _ = plan.experiments  # an unknown name is an error before any data is read
    _check_precision(precision)
    with display("run the same command again: it goes on after the last whole epoch") as shown:
        location, reason = distributed.first_rank_then_others(lambda: locate_or_make_phantoms(data, shown.report))
        if location.synthetic:
            shown.print_line(f"{reason}; going on with phantoms. {SYNTHETIC_NOTICE}" if reason else SYNTHETIC_NOTICE)
        if reason:  # phantoms instead of the images that were named
            out = out.with_name(f"{out.name}-synthetic")
        shown.print_line(f"data: {location.root} ({location.origin})")
        callbacks = Callbacks(shown.report, shown, shown.print_line)
        record = run_study(Study(location, plan, out, ledger_in_use(ledger)), callbacks, workers)
    if as_json:
        print_json(record)
        return
    typer.echo((out / "comparison.md").read_text(encoding="utf-8").rstrip("\n"))
    typer.echo(f"\n{out / 'comparison.html'}\n{out / 'data' / 'overview.html'}")


def _check_precision(name: str) -> None:
    from pneumoscope.errors import ConfigError

    if name not in ("auto", "fp32", "bf16"):
        raise ConfigError(f"expected --precision auto, fp32 or bf16, found {name}: use one of these")
