"""`pneumoscope report [page] | standards`."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from pneumoscope.cli.options import (
    SOME_UNREADABLE,
    AcceptOption,
    BundleOption,
    JsonOption,
    PathColumnOption,
    WorkersOption,
    accepted,
    print_counts,
    print_json,
    worker_count,
)

if TYPE_CHECKING:
    from pneumoscope.assessment.standards import FilledStandard

_PAGE = "page"


class _PageByDefault(TyperGroup):
    """Group whose command `page` is meant where none is named."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        return super().resolve_command(ctx, args if args[0] in self.commands else [_PAGE, *args])


app = typer.Typer(
    help="Write pages of predictions, and the tables of reporting standards.",
    cls=_PageByDefault,
    no_args_is_help=True,
    # Options before the first path are those of `page`.
    context_settings={"ignore_unknown_options": True},
)


@app.command(name=_PAGE)
def page(
    paths: Annotated[list[str], typer.Argument(help="Images, folders, patterns, tables, or -, as for predict.")],
    out: Annotated[Path, typer.Option("--out", help="HTML page to write.")] = Path("report.html"),
    bundle: BundleOption = "default",
    operating_point: Annotated[str, typer.Option("--operating-point", help="As for predict.")] = "balanced",
    prevalence: Annotated[
        float | None, typer.Option("--prevalence", help="As for predict.", show_default=False)
    ] = None,
    accept: AcceptOption = None,
    path_column: PathColumnOption = "",
    workers: WorkersOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Write an HTML page of predictions: decisions, evidence maps and rejections in one file.

    The word `page` may be left out: pneumoscope report films/. Exit code 3: some of the images could not be read.
    """
    from pneumoscope.bundle import find_bundle
    from pneumoscope.cli.progress import display
    from pneumoscope.inference.inputs import open_inputs
    from pneumoscope.inference.pool import WorkerPool
    from pneumoscope.inference.report import write_report
    from pneumoscope.types import PredictionRequest

    inputs = open_inputs(paths, sys.stdin, path_column)
    total = inputs.count()
    with display() as shown:
        shown.stage("images predicted", total)
        found, request = find_bundle(bundle), PredictionRequest(operating_point, prevalence, accept=accepted(accept))
        with WorkerPool(found, worker_count(workers, total)) as pool:
            summary = write_report(out, inputs, found, pool, request, shown.advance)
    if as_json:
        print_json(
            {"page": str(out), "images": summary.images, "decisions": dict(summary.decisions)}
            | {"unreadable": summary.unreadable}
        )
    else:
        print_counts(summary.decisions, summary.unreadable, inputs.left_out)
        typer.echo(out)
    if summary.unreadable:
        raise typer.Exit(SOME_UNREADABLE)


class StandardChoice(StrEnum):
    """Standards by their names on the command line."""

    CLAIM = "claim"
    STARD_AI = "stard-ai"
    TRIPOD_AI = "tripod-ai"
    MODEL_CARD = "model-card"
    ALL = "all"


@app.command()
def standards(
    bundle: Annotated[str, typer.Argument(help="Bundle: default, nano, best, or a path.")] = "default",
    evaluation: Annotated[
        list[Path] | None,
        typer.Option(
            "--evaluation",
            help="report.json of an evaluation of this bundle, by evaluate --bundle (repeatable).",
            show_default=False,
        ),
    ] = None,
    facts: Annotated[
        Path | None,
        typer.Option("--facts", help="TOML file of what only people know; --template writes one.", show_default=False),
    ] = None,
    standard: Annotated[
        StandardChoice, typer.Option("--standard", help="Standard whose table is written.")
    ] = StandardChoice.ALL,
    out: Annotated[Path, typer.Option("--out", help="Folder of the tables.")] = Path("reporting-standards"),
    template: Annotated[
        Path | None,
        typer.Option(
            "--template",
            help="Write an empty TOML file of what only people know to this path, and nothing else.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Fill CLAIM 2024, STARD-AI 2025, TRIPOD+AI 2024 and a model card from a bundle, its evaluations and what people know.

    Writes a table of each as Markdown, HTML and JSON; an empty item says who has to fill it. A folder of images that is called
    standards is ./standards for report.
    """
    from pneumoscope.assessment.standards import (
        STANDARDS,
        collect_facts,
        fill_standard,
        filled_as_dict,
        load_standard,
        read_evaluation,
        read_stated,
        write_filled,
        write_template,
    )
    from pneumoscope.bundle import find_bundle

    if template is not None:
        write_template(template)
        print_json({"template": str(template)}) if as_json else typer.echo(template)
        return
    # Reports and facts are read first: a wrong path is found before the bundle is opened.
    reports = [read_evaluation(path) for path in evaluation or ()]
    stated = read_stated(facts) if facts else []
    known = collect_facts(find_bundle(bundle), reports, stated)
    keys = STANDARDS if standard is StandardChoice.ALL else (standard.value,)
    filled = [fill_standard(load_standard(key), known) for key in keys]
    written = [path for each in filled for path in write_filled(each, out)]
    if as_json:
        print_json({"standards": [filled_as_dict(each) for each in filled], "files": list(map(str, written))})
    else:
        _print_filled(filled, written)


def _print_filled(filled: list["FilledStandard"], written: list[Path]) -> None:
    """Prints the number of items by status, who fills what is missing, and the files."""
    for each in filled:
        counts = ", ".join(f"{count} {status}" for status, count in each.counts.items())
        typer.echo(f"{each.standard.name:<15} {len(each.items):>2} items: {counts}")
    missing = {fact.name: fact.who for each in filled for item in each.items for fact in item.missing}
    for who in dict.fromkeys(missing.values()):
        typer.echo(f"to fill: {who}: {', '.join(name for name, by in missing.items() if by == who)}", err=True)
    for path in written:
        typer.echo(path)
