"""`pneumoscope train`."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pneumoscope.cli.options import (
    DataOption,
    EpochsOption,
    InceptionOption,
    JobsOption,
    JsonOption,
    LimitOption,
    ProcessesOption,
    RayOption,
    SkipOption,
    launch_processes,
    names_as_options,
    print_json,
    show_names_taken,
    takes_data_names,
)

if TYPE_CHECKING:
    from pneumoscope.config import RunConfig
    from pneumoscope.data.locate import Location
    from pneumoscope.data.sources import DataNames
    from pneumoscope.training.callbacks import Callbacks
    from pneumoscope.training.jobs import Workers
    from pneumoscope.training.single_run import SingleRun


@takes_data_names
def train(
    config: Annotated[
        Path, typer.Argument(help="TOML configuration, or the name of one that ships, such as cnn_3_classes or nano.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Run folder to create (default: runs/NAME).", show_default=False),
    ] = None,
    resume: Annotated[Path | None, typer.Option("--resume", help="Run folder to resume.", show_default=False)] = None,
    base: Annotated[
        Path | None,
        typer.Option("--base", help="Finished run whose network the stacked network builds on.", show_default=False),
    ] = None,
    data: DataOption = None,
    *,
    names: "DataNames",
    inception_weights: InceptionOption = None,
    skip_unreadable: SkipOption = False,
    epochs: EpochsOption = None,
    limit: LimitOption = None,
    processes: ProcessesOption = 1,
    jobs: JobsOption = 1,
    address: RayOption = None,
    as_json: JsonOption = False,
) -> None:
    r"""Train a network; with a \[detector] table in the configuration, a detector bundle."""
    from pneumoscope.training.allocator import keep_freed_memory

    keep_freed_memory()
    launch_processes(processes)
    from pneumoscope.cli.progress import display
    from pneumoscope.configs import find_config
    from pneumoscope.data.locate import locate
    from pneumoscope.errors import ConfigError
    from pneumoscope.training import distributed
    from pneumoscope.training.callbacks import Callbacks
    from pneumoscope.training.jobs import Workers

    workers = Workers(jobs, address)
    settings = find_config(config)
    if epochs is not None and not settings.detector.ensemble:
        settings = settings.with_training(epochs=epochs)
    if (jobs > 1 or address) and not settings.detector.name:
        raise ConfigError("expected [detector] in the configuration for --jobs, found one training: leave --jobs out")
    folder = resume or out or Path("runs") / settings.name
    options: dict[str, Any] = {"--data": data, "--base": base, "--epochs": epochs, "--limit": limit}
    options |= names_as_options(names)
    named = "".join(f" {option} {shlex.quote(str(value))}" for option, value in options.items() if value is not None)
    with display(f"pneumoscope train {config} --resume {folder}{named}") as shown:
        location = distributed.first_rank_then_others(
            lambda: replace(locate(data, shown.report), limit=limit, names=names)
        )
        distributed.on_first_rank(lambda: show_names_taken(location.open()))
        callbacks = Callbacks(shown.report, shown, shown.print_line)
        if settings.detector.name:
            record, line = _train_detector(settings, location, folder, callbacks, resume is not None, workers, epochs)
        else:
            from pneumoscope.training.single_run import SingleRun

            run = SingleRun(settings, location, folder, base, inception_weights, skip_unreadable)
            record, line = _train_network(run, callbacks, resume is not None)
    made = f"--bundle {shlex.quote(str(record['bundle']))}" if settings.detector.name else shlex.quote(str(folder))
    if as_json:
        print_json(record)
    else:
        where = f" --data {shlex.quote(str(data))}" if data else ""
        typer.echo(f"{line}; next: pneumoscope evaluate {made}{where}")


def _train_detector(
    settings: "RunConfig",
    location: "Location",
    folder: Path,
    callbacks: "Callbacks",
    resume: bool,
    workers: "Workers",
    epochs: int | None,
) -> tuple[dict[str, Any], str]:
    from pneumoscope.detector_training.cross_fitting import make_detector

    record = make_detector(settings, location, folder, callbacks, resume, workers, epochs)
    point = record["decision"]["operating_points"]["balanced"]
    return record, (
        f"{record['bundle']}: on the stress validation AUC {record['decision']['auc']:.3f}, sensitivity "
        f"{point['sensitivity']:.3f}, specificity {point['specificity']:.3f}"
    )


def _train_network(run: "SingleRun", callbacks: "Callbacks", resume: bool) -> tuple[dict[str, Any], str]:
    from pneumoscope.training.single_run import train_run

    last = train_run(run, callbacks, resume)
    record = {
        "run": str(run.folder),
        "epochs": last.epoch,
        "val_loss": last.val_loss,
        "val_accuracy": last.val_accuracy,
    }
    return record, (f"{last.epoch} epochs, validation loss {last.val_loss:.4f}, accuracy {last.val_accuracy:.3f}")
