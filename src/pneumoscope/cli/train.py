"""`pneumoscope train`."""

from pathlib import Path
from typing import Annotated

import typer

from pneumoscope.cli.options import (
    DataOption,
    InceptionOption,
    JobsOption,
    JsonOption,
    ProcessesOption,
    RayOption,
    SkipOption,
    assemble,
    print_json,
)


def train(
    config: Annotated[Path, typer.Argument(help="A TOML configuration, or the name of one of the study's.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Run folder to make; runs/NAME where none is named.", show_default=False),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", help="Run folder to go on with.", show_default=False)
    ] = None,
    base: Annotated[
        Path | None,
        typer.Option("--base", help="For stacked_cnn: the finished run of a cnn.", show_default=False),
    ] = None,
    data: DataOption = None,
    inception_weights: InceptionOption = None,
    skip_unreadable: SkipOption = False,
    processes: ProcessesOption = 1,
    jobs: JobsOption = 1,
    address: RayOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train one network, or with [detector] in its configuration a bundle; validation films alone decide."""
    from pneumoscope.training.allocator import keep_freed_memory

    keep_freed_memory()
    assemble(processes)
    from pneumoscope.cli.progress import display
    from pneumoscope.config import load_config
    from pneumoscope.data.locate import locate
    from pneumoscope.errors import ConfigError
    from pneumoscope.study.detector import make_detector
    from pneumoscope.study.experiments import EXPERIMENTS, experiment
    from pneumoscope.study.jobs import Workers
    from pneumoscope.study.single import train_run
    from pneumoscope.study.study import Listeners
    from pneumoscope.training import team

    known = not config.exists() and str(config) in {e.name for e in EXPERIMENTS}
    workers = Workers(jobs, address)
    settings = experiment(str(config)).config if known else load_config(config)
    if (jobs > 1 or address) and not settings.detector.name:
        raise ConfigError("expected [detector] in the configuration for --jobs, found one training: leave --jobs out")
    folder = resume or out or Path("runs") / settings.name
    named = "".join(f" {option} {value}" for option, value in (("--data", data), ("--base", base)) if value)
    advice = f"pneumoscope train {config} --resume {folder}{named}"
    with display(advice) as shown:
        location = team.in_turn(lambda: locate(data, shown.report))
        listeners = Listeners(shown.report, shown, shown.say)
        if settings.detector.name:
            record = make_detector(settings, location, folder, listeners, resume is not None, workers)
        else:
            record = train_run(
                settings,
                location,
                folder,
                listeners,
                resume is not None,
                base,
                inception_weights,
                skip_unreadable,
            )
    if as_json:
        print_json(record)
    elif settings.detector.name:
        point = record["decision"]["operating_points"]["balanced"]
        typer.echo(
            f"{record['bundle']}: on the hard validation AUC {record['decision']['auc']:.3f}, sensitivity "
            f"{point['sensitivity']:.3f}, specificity {point['specificity']:.3f}; "
            f"next: pneumoscope evaluate --bundle {record['bundle']}"
        )
    else:
        typer.echo(
            f"{record['epochs']} epochs, validation loss {record['val_loss']:.4f}, accuracy {record['val_accuracy']:.3f}; "
            f"next: pneumoscope evaluate {folder}"
        )
