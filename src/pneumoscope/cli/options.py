"""Options that several commands share."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="Folder, CSV table or pneumoniamnist*.npz; else PNEUMOSCOPE_DATA, data/chest_xray* here, the cache, a download.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
SkipOption = Annotated[bool, typer.Option("--skip-unreadable", help="Go on without films that cannot be read.")]
InceptionOption = Annotated[
    Path | None,
    typer.Option(
        "--inception-weights",
        help="Keras' Inception V3 notop HDF5 file; else PNEUMOSCOPE_INCEPTION_WEIGHTS, the cache, a download.",
        show_default=False,
    ),
]
BundleOption = Annotated[str, typer.Option("--bundle", help="default, nano, or a bundle's path.")]
OperatingPointOption = Annotated[
    str, typer.Option("--operating-point", help="balanced, sensitive, specific, or another of the bundle's.")
]
PrevalenceOption = Annotated[
    float | None,
    typer.Option("--prevalence", help="Share of pneumonia to show probabilities for.", show_default=False),
]
AcceptOption = Annotated[
    list[str] | None,
    typer.Option(
        "--accept",
        help="Reason outside_... for which images are not referred, though nobody validated that; repeat it.",
        show_default=False,
    ),
]
WorkersOption = Annotated[int, typer.Option("--workers", min=0, help="Processes; 0 for as many as there are cores.")]
ProcessesOption = Annotated[
    int,
    typer.Option(
        "--processes",
        min=1,
        help="That share every batch, on this machine; torchrun and srun start their own.",
    ),
]
JobsOption = Annotated[
    int, typer.Option("--jobs", min=1, help="Trainings at the same time, where several do not wait for each other.")
]
RayOption = Annotated[
    str | None,
    typer.Option("--address", help="Ray's head, host:port or auto: --jobs run on its cluster.", show_default=False),
]
LedgerOption = Annotated[
    Path | None,
    typer.Option(
        "--ledger",
        help="JSON lines file that records every evaluation on test images; else results/test-ledger.jsonl where there is one.",
        show_default=False,
    ),
]


# Exit code where some images could not be read and all others have predictions.
SOME_UNREADABLE = 3
# Exit code where a stated requirement is not met.
NOT_MET = 4
# Number of images below which one process is done sooner than several have started.
_MIN_IMAGES_FOR_WORKERS = 64


def accepted(reasons: list[str] | None) -> tuple[str, ...]:
    """Reasons of `--accept`, with a warning on stderr where there are any."""
    if reasons:
        typer.echo(
            f"warning: {', '.join(reasons)}: such images get a decision, and nobody has shown that it is right; measure it on "
            "images of your own (pneumoscope evaluate --bundle)",
            err=True,
        )
    return tuple(sorted(set(reasons or ())))


def check_new_bundle(out: Path) -> None:
    """Checks, before the work, that a new bundle can be written to a path.

    Raises:
        DataError: Another ending than `.zip`, or a file that exists.
    """
    from pneumoscope.errors import DataError

    if out.suffix.lower() != ".zip":
        raise DataError(f"expected a file ending in .zip for the new bundle, found {out}: name it so")
    if out.exists():
        raise DataError(f"expected no file at {out}, found one: name another")


def worker_count(requested: int, images: int | None) -> int:
    """Number of worker processes.

    Args:
        requested: Number that the user requested; 0 for as many as there are cores.
        images: Number of images, where known: a few are predicted by a single process.
    """
    import os

    if requested:
        return requested
    return 1 if images is not None and images < _MIN_IMAGES_FOR_WORKERS else os.cpu_count() or 1


def launch_processes(processes: int) -> None:
    """Finds or starts the processes of a distributed training; only the first rank keeps its output.

    Raises:
        ConfigError: More processes than GPUs.
    """
    import os
    import sys

    from pneumoscope.training import distributed

    distributed.launch(processes)
    if not distributed.is_first_rank() and not os.environ.get("PNEUMOSCOPE_DEBUG"):
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - until the process ends


def print_counts(decisions: Mapping[str, int], unreadable: int) -> None:
    """Prints the number of images by decision, one line on stderr."""
    parts = ", ".join(f"{count:,} {name}" for name, count in sorted(decisions.items()))
    failed = f"; {unreadable:,} could not be read" if unreadable else ""
    typer.echo(f"{sum(decisions.values()):,} images: {parts}{failed}", err=True)


def print_json(value: Any) -> None:
    """Prints one JSON document on stdout; NaN becomes null."""
    from pneumoscope.files import as_json

    typer.echo(as_json(value).rstrip("\n"))


__all__ = [
    "NOT_MET",
    "SOME_UNREADABLE",
    "AcceptOption",
    "BundleOption",
    "DataOption",
    "InceptionOption",
    "JobsOption",
    "JsonOption",
    "LedgerOption",
    "OperatingPointOption",
    "PrevalenceOption",
    "ProcessesOption",
    "RayOption",
    "SkipOption",
    "WorkersOption",
    "accepted",
    "check_new_bundle",
    "launch_processes",
    "print_counts",
    "print_json",
    "worker_count",
]
