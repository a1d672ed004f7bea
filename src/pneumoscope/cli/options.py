"""Options that several commands share."""

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pneumoscope.types import OUTSIDE

if TYPE_CHECKING:
    from pneumoscope.data.sources import DataNames, Source

DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="Folder, table (.csv, .tsv) or pneumoniamnist*.npz of labelled images, or a public set as published (default: PNEUMOSCOPE_DATA, data/chest_xray* here, the cache, or a download).",
        show_default=False,
    ),
]
PathColumnOption = Annotated[
    str,
    typer.Option(
        "--path-column",
        help="Column of a table with the paths (default: path, file, image, ...).",
        show_default=False,
    ),
]
# Parameter to its type, of the options by which a data set says what it calls its classes and columns.
_DATA_NAMES: dict[str, Any] = {
    "class_map": Annotated[
        str,
        typer.Option(
            "--class-map",
            help="Classes of the data by their names there, such as 'No Finding=normal,Pneumonia=pneumonia'; images of others are left out.",
            show_default=False,
        ),
    ],
    "path_column": PathColumnOption,
    "class_column": Annotated[
        str,
        typer.Option(
            "--class-column",
            help="Column of a table with the classes (default: class, label, ...).",
            show_default=False,
        ),
    ],
    "patient_column": Annotated[
        str,
        typer.Option(
            "--patient-column",
            help="Column of a table with the patients (default: patient, patient ID, ...).",
            show_default=False,
        ),
    ],
    "age": Annotated[
        str,
        typer.Option(
            "--age",
            help="Completed years of age of the images that are used, such as 1-5 or 18- (default: all).",
            show_default=False,
        ),
    ],
    "view": Annotated[
        str,
        typer.Option(
            "--view", help="Views of the images that are used, such as PA,AP (default: all).", show_default=False
        ),
    ],
    "sex": Annotated[
        str, typer.Option("--sex", help="Sexes of the images that are used, F,M,O (default: all).", show_default=False)
    ],
}
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
SkipOption = Annotated[
    bool, typer.Option("--skip-unreadable", help="Leave out images that cannot be read, instead of stopping.")
]
InceptionOption = Annotated[
    Path | None,
    typer.Option(
        "--inception-weights",
        help="Keras' Inception V3 notop HDF5 file (default: PNEUMOSCOPE_INCEPTION_WEIGHTS, the cache, or a download).",
        show_default=False,
    ),
]
BundleOption = Annotated[str, typer.Option("--bundle", help="Bundle: default, nano, best, or a path.")]
OperatingPointOption = Annotated[
    str,
    typer.Option(
        "--operating-point", help="Operating point: balanced, sensitive, specific, or another one of the bundle."
    ),
]
PrevalenceOption = Annotated[
    float | None,
    typer.Option(
        "--prevalence",
        help="Prevalence of pneumonia, in (0, 1), for which probabilities are shown (default: that of the bundle).",
        show_default=False,
    ),
]
AcceptOption = Annotated[
    list[str] | None,
    typer.Option(
        "--accept",
        help="Reason, such as outside_population, for which images are not referred although the bundle is not validated on them (repeatable).",
        show_default=False,
    ),
]
WorkersOption = Annotated[int, typer.Option("--workers", min=0, help="Number of worker processes; 0 for one per core.")]
EpochsOption = Annotated[
    int | None,
    typer.Option("--epochs", min=1, help="Maximum epochs (default: that of the configuration).", show_default=False),
]
LimitOption = Annotated[
    int | None,
    typer.Option(
        "--limit",
        min=20,
        help="Approximate number of images, drawn evenly from every class and split (default: all).",
        show_default=False,
    ),
]
ProcessesOption = Annotated[
    int,
    typer.Option(
        "--processes",
        min=1,
        help="Number of processes of a distributed training on this machine (torchrun and srun start their own).",
    ),
]
JobsOption = Annotated[
    int,
    typer.Option("--jobs", min=1, help="Number of trainings at the same time, where they do not depend on each other."),
]
RayOption = Annotated[
    str | None,
    typer.Option(
        "--address", help="Address of Ray's head, host:port or auto: --jobs run on its cluster.", show_default=False
    ),
]
LedgerOption = Annotated[
    Path | None,
    typer.Option(
        "--ledger",
        help="JSON lines file that records every evaluation on test images (default: results/test-ledger.jsonl, where it exists).",
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
    """Reasons of `--accept`, with a warning on stderr where there are any; unknown ones are refused where they are used."""
    if reasons and set(reasons) <= set(OUTSIDE):
        typer.echo(
            f"warning: {', '.join(reasons)}: such images get a decision, and nobody has shown that it is right; measure it on "
            "images of your own (pneumoscope evaluate --bundle)",
            err=True,
        )
    return tuple(sorted(set(reasons or ())))


def takes_data_names(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options --class-map, --*-column, --age, --view and --sex in place of its parameter `names`, which gets what they say."""

    @wraps(command)
    def with_names(**values: Any) -> None:
        if "names" not in values:
            values["names"] = data_names(**{name: values.pop(name, "") for name in _DATA_NAMES})
        command(**values)

    own = inspect.signature(command).parameters.values()
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default="", annotation=kind)
        for name, kind in _DATA_NAMES.items()
    ]
    parameters = [
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in own
        for each in (options if parameter.name == "names" else [parameter])
    ]
    of_command = {name: kind for name, kind in command.__annotations__.items() if name != "names"}
    with_names.__annotations__ = of_command | _DATA_NAMES
    with_names.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return with_names


def data_names(
    class_map: str,
    path_column: str = "",
    class_column: str = "",
    patient_column: str = "",
    age: str = "",
    view: str = "",
    sex: str = "",
) -> "DataNames":
    """Names of `--class-map` and of the options of columns, and the filters of `--age`, `--view` and `--sex`.

    Raises:
        ConfigError: A class map, ages or sexes of another form.
    """
    from pneumoscope.data.class_names import DataNames
    from pneumoscope.data.filters import ImageFilters

    columns = {"path": path_column, "class": class_column, "patient": patient_column}
    return DataNames.of(class_map, columns, ImageFilters.of(age, view, sex))


def names_as_options(names: "DataNames") -> dict[str, str]:
    """Options that say these names, with their values."""
    classes = ",".join(f"{name}={to}" for name, to in names.classes.items())
    columns = {f"--{column}-column": name for column, name in names.columns.items()}
    return ({"--class-map": classes} if classes else {}) | columns | names.filters.options


def show_names_taken(source: "Source") -> None:
    """Prints, on stderr, what other names of columns and classes were taken for."""
    if source.names_taken:
        typer.echo(f"{source.root.name}: {source.names_taken}", err=True)


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


def print_counts(decisions: Mapping[str, int], unreadable: int, left_out: Mapping[str, int] | None = None) -> None:
    """Prints the number of images by decision, and of files that were left out as no images, on stderr."""
    parts = ", ".join(f"{count:,} {name}" for name, count in sorted(decisions.items()))
    failed = f"; {unreadable:,} could not be read" if unreadable else ""
    typer.echo(f"{sum(decisions.values()):,} images: {parts}{failed}", err=True)
    if left_out:
        endings = ", ".join(f"{count:,} with {ending}" for ending, count in sorted(left_out.items()))
        count = sum(left_out.values())
        typer.echo(f"{count:,} file{'s' * (count != 1)} left out, no images: {endings}", err=True)


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
    "EpochsOption",
    "InceptionOption",
    "JobsOption",
    "JsonOption",
    "LedgerOption",
    "LimitOption",
    "OperatingPointOption",
    "PathColumnOption",
    "PrevalenceOption",
    "ProcessesOption",
    "RayOption",
    "SkipOption",
    "WorkersOption",
    "accepted",
    "check_new_bundle",
    "launch_processes",
    "names_as_options",
    "print_counts",
    "print_json",
    "show_names_taken",
    "takes_data_names",
    "worker_count",
]
