"""`pneumoscope scale`."""

import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pneumoscope.cli.options import (
    SOME_UNREADABLE,
    AcceptOption,
    BundleOption,
    JsonOption,
    OperatingPointOption,
    PrevalenceOption,
    accepted,
    print_counts,
    print_json,
    worker_count,
)

if TYPE_CHECKING:
    from pneumoscope.cli.progress import Display
    from pneumoscope.scale.score import Engine, RunStatistics, ScoredArchive

app = typer.Typer(no_args_is_help=True, help="Predict archives of any size, on this machine or on a cluster.")
# Time between lines of progress, where no bar can be drawn.
_SECONDS_BETWEEN_LINES = 30.0


class EngineName(StrEnum):
    """Engine that scores the partitions."""

    RAY = "ray"
    LOCAL = "local"


ManifestArgument = Annotated[
    str,
    typer.Argument(
        help="Folder, pattern, table (.csv, .tsv, .parquet) or tar archives, at a path or an address s3://, gs://, hdfs://, ..."
    ),
]
OutOption = Annotated[
    str, typer.Option("--out", help="Folder of the results; the same command resumes an interrupted run.")
]
EngineOption = Annotated[
    EngineName, typer.Option("--engine", help="Engine: a Ray cluster, or processes of this machine.")
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        help="Address of Ray's head, host:port or auto (default: a new cluster on this machine).",
        show_default=False,
    ),
]
ScaleWorkersOption = Annotated[int, typer.Option("--workers", min=0, help="Number of workers; 0 for one per core.")]
CoresOption = Annotated[
    int,
    typer.Option(
        "--cores-per-worker", min=1, help="CPU cores of each Ray worker, with one prediction process per core."
    ),
]
GpusOption = Annotated[
    float,
    typer.Option("--gpus-per-worker", min=0, help="GPUs of each Ray worker, used for prediction (default: CPU cores)."),
]
PartitionOption = Annotated[
    int,
    typer.Option(
        "--partition-films", help="Number of images in a partition, the unit that is predicted and committed together."
    ),
]
PriceOption = Annotated[
    float | None,
    typer.Option(
        "--core-hour-price",
        min=0,
        help="Price of a core hour, in any currency, for an estimate of the cost.",
        show_default=False,
    ),
]


@app.callback()
def _scale() -> None:
    """Keeps `score` a subcommand: typer merges an application's only command into the application."""


@app.command()
def score(
    manifest: ManifestArgument,
    out: OutOption,
    bundle: BundleOption = "default",
    operating_point: OperatingPointOption = "balanced",
    prevalence: PrevalenceOption = None,
    accept: AcceptOption = None,
    engine: EngineOption = EngineName.RAY,
    address: AddressOption = None,
    workers: ScaleWorkersOption = 0,
    cores_per_worker: CoresOption = 1,
    gpus_per_worker: GpusOption = 0.0,
    partition_images: PartitionOption = 1000,
    core_hour_price: PriceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Predict every image of an archive exactly once, into Parquet files.

    Exit code 3: some of the images could not be read.
    """
    from pneumoscope.bundle import find_bundle
    from pneumoscope.cli.progress import display
    from pneumoscope.inference.batch import count_unreadable
    from pneumoscope.scale.score import score as score_archive
    from pneumoscope.types import PredictionRequest

    found = find_bundle(bundle)
    request = PredictionRequest(operating_point, prevalence, accept=accepted(accept))
    device = "cuda" if gpus_per_worker else "cpu"
    chosen = _engine(engine, address, workers, cores_per_worker, gpus_per_worker)
    with display("run the same command again: it goes on where it was broken off") as shown:
        follow = _RunProgress(shown, core_hour_price)
        scored = score_archive(manifest, out, found, chosen, partition_images, follow, request, device)
    unreadable = count_unreadable(scored.total.reasons)
    if as_json:
        print_json({"out": out, **_record(scored, unreadable, core_hour_price)})
    else:
        typer.echo(out)
    print_counts(scored.total.decisions, unreadable)
    if unreadable:
        raise typer.Exit(SOME_UNREADABLE)


def _record(scored: "ScoredArchive", unreadable: int, core_hour_price: float | None) -> dict[str, Any]:
    """Result of a run as plain data."""
    total, run = scored.total, scored.run
    return {
        "films": total.images,
        "partitions": scored.plan.partitions,
        "decisions": total.decisions,
        "reasons": total.reasons,
        "unreadable": unreadable,
        "run": run.to_dict(),
        "core_hours": run.core_hours,
        "cost": None if core_hour_price is None else run.core_hours * core_hour_price,
    }


def _engine(
    name: EngineName, address: str | None, workers: int, cores_per_worker: int, gpus_per_worker: float
) -> "Engine":
    if name is EngineName.LOCAL:
        from pneumoscope.scale.score import LocalEngine

        return LocalEngine(worker_count(workers, None))
    from pneumoscope.scale.ray_engine import RayEngine

    return RayEngine(address, workers or None, cores_per_worker, gpus_per_worker)


class _RunProgress:
    """Progress of a run: a bar on a terminal, elsewhere a line every half minute."""

    def __init__(self, shown: "Display", core_hour_price: float | None) -> None:
        self._shown = shown
        self._price = core_hour_price
        self._printed = time.monotonic()
        self._begun = False

    def __call__(self, run: "RunStatistics") -> None:
        """Shows the progress; the first call begins the stage."""
        if not self._begun:
            self._begun = True
            self._shown.stage("partitions predicted", run.plan.partitions)
            self._shown.skip(run.earlier)
            return
        line = self._line(run)
        self._shown.note(1, line)
        if not self._shown.on_terminal and time.monotonic() - self._printed > _SECONDS_BETWEEN_LINES:
            self._printed = time.monotonic()
            self._shown.print_line(f"{run.earlier + run.partitions:,} of {run.plan.partitions:,} partitions: {line}")

    def _line(self, run: "RunStatistics") -> str:
        parts = [f"{run.images:,} films", f"{run.rate:.0f} img/s", f"{_duration(run.seconds_left)} left"]
        parts.append(f"{run.core_hours:.2f} core-hours")
        if self._price is not None:
            parts.append(f"cost {run.core_hours * self._price:.2f}")
        return ", ".join(parts)


def _duration(seconds: float) -> str:
    """Hours, minutes and seconds of a duration, as 1:05:00; a question mark for an infinite one."""
    if seconds == float("inf"):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
