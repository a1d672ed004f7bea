"""`pneumoscope scale`."""

import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pneumoscope.cli.options import (
    SOME_UNREADABLE,
    BundleOption,
    JsonOption,
    OperatingPointOption,
    PrevalenceOption,
    count_of_workers,
    print_json,
    tell_counts,
)

if TYPE_CHECKING:
    from pneumoscope.cli.progress import Display
    from pneumoscope.scale.score import Account, Engine

app = typer.Typer(no_args_is_help=True, help="Score archives of any size, on this machine or on a cluster.")
# Between the lines that say how far it is, where no bar can be drawn.
_SECONDS_BETWEEN_LINES = 30.0


class EngineName(StrEnum):
    """What judges."""

    RAY = "ray"
    LOCAL = "local"


@app.callback()
def _scale() -> None:
    pass


@app.command()
def score(
    manifest: Annotated[
        str,
        typer.Argument(
            help="Folder, pattern, CSV, TSV or Parquet table, or tar archives; a path, or s3://, gs://, hdfs://, ..."
        ),
    ],
    out: Annotated[str, typer.Option("--out", help="Folder of the results; the same command goes on after a break.")],
    bundle: BundleOption = "default",
    operating_point: OperatingPointOption = "balanced",
    prevalence: PrevalenceOption = None,
    engine: Annotated[
        EngineName, typer.Option("--engine", help="A Ray cluster, or this machine's processes.")
    ] = EngineName.RAY,
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            help="Of Ray's head, host:port, or auto; else a cluster of this machine alone is started.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=0, help="Detectors at work; 0 for as many as there are cores.")
    ] = 0,
    cores_per_worker: Annotated[
        int, typer.Option("--cores-per-worker", min=1, help="Of Ray's workers, with a judging process for each.")
    ] = 1,
    gpus_per_worker: Annotated[
        float, typer.Option("--gpus-per-worker", min=0, help="Of Ray's workers, on which they judge; else on cores.")
    ] = 0.0,
    partition_images: Annotated[
        int, typer.Option("--partition-films", help="Films that are judged, and put in place, together.")
    ] = 1000,
    core_hour_price: Annotated[
        float | None,
        typer.Option("--core-hour-price", min=0, help="To tell what it costs, in any currency.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Judge every image of an archive, exactly once, into Parquet files.

    Exit code 3 says that some of the images could not be read.
    """
    from pneumoscope.bundle import find_bundle
    from pneumoscope.cli.progress import display
    from pneumoscope.inference.batch import count_unreadable
    from pneumoscope.scale.score import score as score_archive
    from pneumoscope.types import PredictionRequest

    found = find_bundle(bundle)
    request = PredictionRequest(operating_point, prevalence)
    device = "cuda" if gpus_per_worker else "cpu"
    chosen = _engine(engine, address, workers, cores_per_worker, gpus_per_worker)
    with display("run the same command again: it goes on where it was broken off") as shown:
        follow = _Follow(shown, core_hour_price)
        scored = score_archive(manifest, out, found, chosen, partition_images, follow, request, device)
    account, unreadable = scored.account, count_unreadable(scored.all.reasons)
    cost = None if core_hour_price is None else account.core_hours * core_hour_price
    if as_json:
        record: dict[str, Any] = {
            "out": out,
            "films": scored.all.images,
            "partitions": scored.plan.partitions,
            "decisions": scored.all.decisions,
            "reasons": scored.all.reasons,
            "unreadable": unreadable,
            "run": account.as_json(),
            "core_hours": account.core_hours,
            "cost": cost,
        }
        print_json(record)
    else:
        typer.echo(out)
    tell_counts(scored.all.decisions, unreadable)
    if unreadable:
        raise typer.Exit(SOME_UNREADABLE)


def _engine(
    name: EngineName, address: str | None, workers: int, cores_per_worker: int, gpus_per_worker: float
) -> "Engine":
    if name is EngineName.LOCAL:
        from pneumoscope.scale.score import LocalEngine

        return LocalEngine(count_of_workers(workers, None))
    from pneumoscope.scale.ray_engine import RayEngine

    return RayEngine(address, workers or None, cores_per_worker, gpus_per_worker)


class _Follow:
    """Tells how far a run is: on a terminal all the time, elsewhere by a line now and then."""

    def __init__(self, shown: "Display", core_hour_price: float | None) -> None:
        self._shown = shown
        self._price = core_hour_price
        self._told = time.monotonic()
        self._begun = False

    def __call__(self, account: "Account") -> None:
        if not self._begun:
            self._begun = True
            self._shown.stage("partitions judged", account.plan.partitions)
            self._shown.skip(account.earlier)
            return
        line = self._line(account)
        self._shown.note(1, line)
        if not self._shown.is_drawn and time.monotonic() - self._told > _SECONDS_BETWEEN_LINES:
            self._told = time.monotonic()
            self._shown.say(
                f"{account.earlier + account.partitions:,} of {account.plan.partitions:,} partitions: {line}"
            )

    def _line(self, account: "Account") -> str:
        parts = [f"{account.images:,} films", f"{account.rate:.0f} img/s", f"{_duration(account.seconds_left)} left"]
        parts.append(f"{account.core_hours:.2f} core-hours")
        if self._price is not None:
            parts.append(f"cost {account.core_hours * self._price:.2f}")
        return ", ".join(parts)


def _duration(seconds: float) -> str:
    if seconds == float("inf"):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
