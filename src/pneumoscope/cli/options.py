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


# Exit code: some images could not be read; all others were answered.
SOME_UNREADABLE = 3
# Fewer images than this are judged sooner by one process than several are started.
_WORTH_WORKERS = 64


def check_new_bundle(out: Path) -> None:
    """Whether a bundle may be written there; asked before the work, not after it.

    Raises:
        DataError: Another ending than `.zip`, or a file that is there already.
    """
    from pneumoscope.errors import DataError

    if out.suffix.lower() != ".zip":
        raise DataError(f"expected a file ending in .zip for the new bundle, found {out}: name it so")
    if out.exists():
        raise DataError(f"expected no file at {out}, found one: name another")


def count_of_workers(asked: int, images: int | None) -> int:
    """Processes for so many images, where that is known; 0 asks for what suits."""
    import os

    if asked:
        return asked
    return 1 if images is not None and images < _WORTH_WORKERS else os.cpu_count() or 1


def assemble(processes: int) -> None:
    """Finds or starts the processes that train together; the first of them alone speaks.

    Raises:
        ConfigError: More than there are GPUs.
    """
    import os
    import sys

    from pneumoscope.training import distributed

    distributed.assemble(processes)
    if not distributed.is_first() and not os.environ.get("PNEUMOSCOPE_DEBUG"):
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - until the process ends


def tell_counts(decisions: Mapping[str, int], unreadable: int) -> None:
    """One line on stderr: how many images came to what."""
    parts = ", ".join(f"{count:,} {name}" for name, count in sorted(decisions.items()))
    broken = f"; {unreadable:,} could not be read" if unreadable else ""
    typer.echo(f"{sum(decisions.values()):,} images: {parts}{broken}", err=True)


def print_json(value: Any) -> None:
    """One JSON document on stdout; NaN becomes null."""
    from pneumoscope.files import as_json

    typer.echo(as_json(value).rstrip("\n"))


__all__ = [
    "SOME_UNREADABLE",
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
    "assemble",
    "check_new_bundle",
    "count_of_workers",
    "print_json",
    "tell_counts",
]
