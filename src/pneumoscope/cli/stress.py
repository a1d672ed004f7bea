"""`pneumoscope stress`."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
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
    show_names_taken,
    takes_data_names,
    worker_count,
)
from pneumoscope.types import Split

if TYPE_CHECKING:
    from pneumoscope.cli.progress import Display
    from pneumoscope.data.locate import Location
    from pneumoscope.data.sources import DataNames
    from pneumoscope.stress import Radiographs, StressTest
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
    from pneumoscope.data.locate import locate
    from pneumoscope.errors import ConfigError
    from pneumoscope.provenance import provenance
    from pneumoscope.stress import compare, stress_test, write_comparison, write_report
    from pneumoscope.stress.comparison import order_in_words
    from pneumoscope.stress.models import open_model

    if threshold is not None and validation is not None:
        raise ConfigError(
            "expected a threshold or images to choose it on, found both: leave out --threshold or --validation"
        )
    folders = _folders(models, out)
    opening = partial(open_model, settings=settings, trust=trust, workers=worker_count(workers, None))
    facts, tests, recipes = provenance(), [], []
    with display() as shown:
        _check_all_open(models, opening)
        location = replace(locate(data, shown.report), names=names, limit=limit)
        reading = partial(_radiographs, side=side, skip_unreadable=skip_unreadable, shown=shown)
        radiographs, tested_split = reading(location, split, Split.TEST)
        chosen_on = None
        if validation is not None:
            # Test images choose nothing.
            chosen_on, _ = reading(replace(locate(validation, shown.report), names=names), None, Split.TRAIN)
            if shared := len(set(chosen_on.file_sha256) & set(radiographs.file_sha256)):
                raise ConfigError(
                    f"expected other radiographs to choose the threshold on, found {shared} of those that are tested: name others by --validation"
                )
        for name, folder in zip(models, folders, strict=True):
            with opening(name) as model:
                model.check_unseen(radiographs.file_sha256)
                chosen = model.threshold if threshold is None else threshold
                if chosen_on is not None:
                    chosen = _best_threshold(model, chosen_on)
                test = stress_test(
                    model.predict,
                    radiographs,
                    model=model.name,
                    identity=model.identity,
                    threshold=chosen,
                    threshold_from="" if chosen_on is None else f"{len(chosen_on):,} radiographs of {validation}",
                    corrupted=corrupted,
                    folder=folder / "predictions",
                    hours=hours,
                    progress=shown.report(
                        "images shown to the model" if len(models) == 1 else f"images shown to {name}"
                    ),
                )
                recipes.append(model.recipe or str(folder))
                remark = model.remark()
            if remark:
                shown.print_line(remark)
            record = write_report(test, folder, facts | ({"rejected": remark} if remark else {}), location.synthetic)
            tests.append(test)
            if tested_split is Split.TEST and not location.synthetic:
                _record_look(test, why, ledger, facts["commit"])
    if len(models) > 1:
        compared = compare(_named_apart(tests, models), recipes)
        folder = out or _FOLDER
        record = write_comparison(compared, folder, facts, location.synthetic)
        lines, page = [order_in_words(compared)], folder / "comparison.html"
    else:
        lines, page = list(tests[0].verdict.sentences), folders[0] / "stress.html"
    if as_json:
        print_json(record)
    else:
        typer.echo("\n".join(lines))
        typer.echo(f"\n{page}")


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


def _check_all_open(models: Sequence[str], opening: Callable[[str], AbstractContextManager["StressedModel"]]) -> None:
    """Open each of several models once, so that a wrong one is known before the first is tested."""
    if len(models) > 1:
        for name in models:
            with opening(name):
                pass


def _radiographs(
    location: "Location", split: Split | None, usual: Split, side: int, skip_unreadable: bool, shown: "Display"
) -> tuple["Radiographs", Split | None]:
    """Radiographs of a data set, and the split that they are of: the given one, else the usual one where there is one, else none."""
    from pneumoscope.stress import read_radiographs

    source = location.open()
    show_names_taken(source)
    chosen = split or (usual if any(image.split is usual for image in source.images) else None)
    return read_radiographs(source, chosen, side, shown.report("radiographs read"), skip_unreadable), chosen


def _best_threshold(model: "StressedModel", radiographs: "Radiographs") -> float:
    from pneumoscope.evaluation.thresholds import best_operating_point
    from pneumoscope.stress.running import predict_checked

    return best_operating_point(predict_checked(model.predict, radiographs.images), radiographs.positive).threshold


def _named_apart(tests: Sequence["StressTest"], models: Sequence[str]) -> list["StressTest"]:
    """Tests under their models' names; under what the user calls them where several have one name."""
    counts = Counter(test.model for test in tests)
    return [
        replace(test, model=name) if counts[test.model] > 1 else test for test, name in zip(tests, models, strict=True)
    ]


def _record_look(test: "StressTest", why: str, ledger: Path | None, commit: Any) -> None:
    """Write a line into the ledger of looks at test images, where one is kept."""
    from pneumoscope.assessment.ledger import append_to_ledger, ledger_in_use

    if book := ledger_in_use(ledger):
        plain = test.measures.plain
        append_to_ledger(
            book,
            commit=commit,
            model=test.model,
            radiographs=len(test.radiographs),
            why=why,
            result={"accuracy": round(plain.accuracy.value, 4), "auc": round(plain.auc.value, 4)},
        )
