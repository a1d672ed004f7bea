"""`pneumoscope train`."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pneumoscope.cli.options import (
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
    from pneumoscope.multi_site.sites import Site
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
    data: Annotated[
        list[Path] | None,
        typer.Option(
            "--data",
            help="Folder, table (.csv, .tsv) or pneumoniamnist*.npz of labelled images, or a public set as published (default: PNEUMOSCOPE_DATA, data/chest_xray* "
            "here, the cache, or a download). Two or more, PATH or NAME=PATH: leave-one-hospital-out.",
            show_default=False,
        ),
    ] = None,
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
    r"""Train a network; with a \[detector] table in the configuration, a detector bundle; with several --data, leave-one-hospital-out.

    Several --data: a network of all hospitals but one for each hospital, measured at the one left out, a network of all, and a report.
    """
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
    several = data is not None and len(data) > 1
    if several and (base or jobs > 1 or address or processes > 1):
        raise ConfigError(
            "expected one --data for --base, --jobs, --address and --processes, found several: leave them out"
        )
    if (jobs > 1 or address) and not settings.detector.name:
        raise ConfigError("expected [detector] in the configuration for --jobs, found one training: leave --jobs out")
    folder = resume or out or Path("runs") / settings.name
    options: dict[str, Any] = {"--base": base, "--epochs": epochs, "--limit": limit, **names_as_options(names)}
    given = [("--data", each) for each in data or ()] + [
        (name, each) for name, each in options.items() if each is not None
    ]
    named = "".join(f" {option} {shlex.quote(str(value))}" for option, value in given)
    if resume is not None and not several:
        _check_one_site(resume)
    again = shlex.join(["pneumoscope", "train", str(config), "--resume", str(folder)])
    with display(f"{again}{named}") as shown:
        callbacks = Callbacks(shown.report, shown, shown.print_line)
        if data is not None and several:
            record = _train_sites(
                settings, _sites(data, limit, names), folder, callbacks, resume is not None, skip_unreadable
            )
            _show_sites(record, folder, as_json)
            return
        named_data = data[0] if data else None
        location = distributed.first_rank_then_others(
            lambda: replace(locate(named_data, shown.report), limit=limit, names=names)
        )
        distributed.on_first_rank(lambda: show_names_taken(location.open()))
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
        where = f" --data {shlex.quote(str(named_data))}" if named_data else ""
        typer.echo(f"{line}; next: pneumoscope evaluate {made}{where}")


def _check_one_site(folder: Path) -> None:
    """Check that a run to be resumed is not one of several hospitals, whose data would then be another."""
    from pneumoscope.errors import ConfigError
    from pneumoscope.training.run_folder import RunFolder

    run = RunFolder(folder)
    if run.is_begun and "sites" in run.provenance().get("facts", {}):
        raise ConfigError(
            f"expected the --data of every hospital for --resume {folder}, found one or none: name those that it was begun with"
        )


def _sites(data: list[Path], limit: int | None, names: "DataNames") -> list["Site"]:
    """Hospitals that several --data name."""
    from pneumoscope.data.locate import locate
    from pneumoscope.multi_site.sites import Site, site_names

    sites = [Site(name, replace(locate(path), limit=limit, names=names)) for name, path in site_names(data)]
    for site in sites:
        show_names_taken(site.location.open())
    return sites


def _train_sites(
    settings: "RunConfig",
    sites: list["Site"],
    folder: Path,
    callbacks: "Callbacks",
    resume: bool,
    skip_unreadable: bool,
) -> dict[str, Any]:
    from pneumoscope.multi_site.leave_one_out import leave_one_out
    from pneumoscope.multi_site.report import write_report
    from pneumoscope.provenance import provenance

    result = leave_one_out(settings, sites, folder, callbacks, resume, skip_unreadable)
    return write_report(result, folder, provenance(), any(site.location.synthetic for site in sites))


def _show_sites(record: dict[str, Any], folder: Path, as_json: bool) -> None:
    if as_json:
        print_json(record)
    else:
        typer.echo("\n".join(record["verdict"]))
        typer.echo(f"report: {folder / 'sites.html'}; network of all hospitals: {folder / 'all'}")


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
