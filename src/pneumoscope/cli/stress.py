"""`pneumoscope stress`."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pneumoscope.cli.options import (
    DataOption,
    JsonOption,
    LedgerOption,
    SkipOption,
    WorkersOption,
    print_json,
    takes_data_names,
    worker_count,
)
from pneumoscope.cli.stress_run import RadiographReader, StressRun, TestedModel
from pneumoscope.types import Split

if TYPE_CHECKING:
    from pneumoscope.data.sources import DataNames
    from pneumoscope.stress import StressTest
    from pneumoscope.stress.stressed_model import StressedModel


@takes_data_names
def stress(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="Bundle (default, nano, best, .zip), run folder, .onnx, .keras, .h5, .pt or .pt2 file with its settings beside it in TOML, "
            "address of a pneumoscope service, or module:function. Several are compared as well.",
            show_default="default",
        ),
    ] = ["default"],  # noqa: B006 - Typer copies it
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder of the report and of what is done so far (default: stress/MODEL; stress for several).",
            show_default=False,
        ),
    ] = None,
    data: DataOption = None,
    *,
    names: "DataNames",
    split: Annotated[
        Split | None,
        typer.Option(
            "--split", help="Split to test on (default: test, where there is one; else all images).", show_default=False
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            min=20,
            help="Approximate number of radiographs, drawn evenly (default: all).",
            show_default=False,
        ),
    ] = None,
    side: Annotated[int, typer.Option("--side", min=96, help="Side of the images that the model gets, pixels.")] = 224,
    corrupted: Annotated[
        int,
        typer.Option(
            "--corrupted", min=0, help="Radiographs for each of 23 corruptions at five strengths; 0 for none."
        ),
    ] = 120,
    settings: Annotated[
        Path | None,
        typer.Option(
            "--settings", help="Settings of model files (default: the TOML of a file's name).", show_default=False
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            min=0.0,
            max=1.0,
            help="Probability from which on a radiograph is positive (default: the model's).",
            show_default=False,
        ),
    ] = None,
    validation: Annotated[
        Path | None,
        typer.Option(
            "--validation",
            help="Labelled images on which the threshold is chosen, by accuracy, as a data set of its own.",
            show_default=False,
        ),
    ] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Load a model that runs code of its own.")] = False,
    hours: Annotated[float, typer.Option("--hours", min=0.01, help="Time that a model may take.")] = 1.0,
    why: Annotated[
        str, typer.Option("--why", help="Reason for looking at test images, for the ledger.")
    ] = "stress command",
    skip_unreadable: SkipOption = False,
    ledger: LedgerOption = None,
    workers: WorkersOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Find out what a model reads, the lung or the file, and write stress.json, .md and .html; compare several models."""
    from pneumoscope.cli.progress import display
    from pneumoscope.errors import ConfigError
    from pneumoscope.provenance import provenance
    from pneumoscope.stress.models import open_model

    if threshold is not None and validation is not None:
        raise ConfigError(
            "expected a threshold or images to choose it on, found both: leave out --threshold or --validation"
        )
    folders = _folders(models, out)
    opening: Callable[[str], AbstractContextManager[StressedModel]] = partial(
        open_model, settings=settings, trust=trust, workers=worker_count(workers, None)
    )
    with display() as shown, ExitStack() as stack:
        if len(models) > 1:
            _check_all_open(models, opening)
        else:  # stays open, and is not loaded again
            model = stack.enter_context(opening(models[0]))
            opening = partial(_opened, model)
        reader = RadiographReader(names, side, skip_unreadable, shown)
        tested = reader.tested(data, split, limit)
        chosen_on = None if validation is None else reader.validation(validation, tested)
        run = StressRun(tested, chosen_on, threshold, corrupted, hours, shown, provenance(), why, ledger)
        found = [
            run.test(opening, name, folder, alone=len(models) == 1)
            for name, folder in zip(models, folders, strict=True)
        ]
        record, lines, page = _compared(found, models, out or _FOLDER, run) if len(found) > 1 else _alone(found[0])
    if as_json:
        print_json(record)
    else:
        typer.echo("\n".join(lines))
        typer.echo(f"\n{page}")


def _alone(found: TestedModel) -> tuple[dict[str, Any], list[str], Path]:
    """Record, lines for the user and page of one model."""
    return found.record, list(found.test.verdict.sentences), found.folder / "stress.html"


def _compared(
    found: Sequence[TestedModel], models: Sequence[str], folder: Path, run: StressRun
) -> tuple[dict[str, Any], list[str], Path]:
    """Record, line for the user and page of several models, after the comparison is written."""
    from pneumoscope.stress import compare, write_comparison
    from pneumoscope.stress.comparison import order_in_words

    compared = compare(_named_apart([each.test for each in found], models), [each.recipe for each in found])
    record = write_comparison(compared, folder, run.facts, run.tested.synthetic)
    return record, [order_in_words(compared)], folder / "comparison.html"


_FOLDER = Path("stress")


def _folders(models: Sequence[str], out: Path | None) -> list[Path]:
    """Folder of each model's report: its name, with as many of its parents as tell it from the others."""
    from pneumoscope.errors import ConfigError

    # Paths in whatever form they are given: `.` has no name, and `a` and `./a` are one model.
    known = [Path(model).resolve() if Path(model).exists() else Path(model.replace(":", "-")) for model in models]
    if len(set(known)) < len(known):
        raise ConfigError(f"expected different models, found {', '.join(models)}: name each once")
    if len(models) == 1 and out is not None:
        return [out]
    parts = [[part for part in each.parts if part.strip("./\\")] for each in known]
    depth = next(n for n in count(1) if len({tuple(each[-n:]) for each in parts}) == len(parts))
    return [(out or _FOLDER) / "-".join(each[-depth:]) for each in parts]


def _opened(model: "StressedModel", name: str) -> AbstractContextManager["StressedModel"]:
    """Model that is open already, as by its name."""
    return nullcontext(model)


def _check_all_open(models: Sequence[str], opening: Callable[[str], AbstractContextManager["StressedModel"]]) -> None:
    """Open each of several models once, so that a wrong one is known before the radiographs are read and the first is tested."""
    for name in models:
        with opening(name):
            pass


def _named_apart(tests: Sequence["StressTest"], models: Sequence[str]) -> list["StressTest"]:
    """Tests under their models' names; under what the user calls them where several have one name."""
    counts = Counter(test.model for test in tests)
    return [
        replace(test, model=name) if counts[test.model] > 1 else test for test, name in zip(tests, models, strict=True)
    ]
