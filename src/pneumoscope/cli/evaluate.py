"""`pneumoscope evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

from pneumoscope.cli.options import (
    DEFAULT_LEDGER,
    DataOption,
    InceptionOption,
    JsonOption,
    LedgerOption,
    SkipOption,
    print_json,
)
from pneumoscope.types import Split


def evaluate(
    run: Annotated[Path, typer.Argument(help="A finished run folder.")],
    data: DataOption = None,
    split: Annotated[Split, typer.Option("--split", help="Whose films.")] = Split.TEST,
    why: Annotated[
        str, typer.Option("--why", help="For the ledger: why the test films are looked at.")
    ] = "evaluate command",
    inception_weights: InceptionOption = None,
    skip_unreadable: SkipOption = False,
    ledger: LedgerOption = DEFAULT_LEDGER,
    as_json: JsonOption = False,
) -> None:
    """Measure a trained network, every number with its interval; writes report.json, .md and .html into the run folder."""
    from pneumoscope.training.allocator import keep_freed_memory

    keep_freed_memory()
    from pneumoscope.cli.progress import display
    from pneumoscope.data.locate import locate
    from pneumoscope.study.single import evaluate_run

    with display() as shown:
        location = locate(data, shown.report)
        record = evaluate_run(run, location, split, why, ledger, shown.report, inception_weights, skip_unreadable)
    folder = run / "evaluation" / split.value
    if as_json:
        print_json(record)
    else:
        typer.echo((folder / "report.md").read_text(encoding="utf-8").rstrip("\n"))
        typer.echo(f"\n{folder / 'report.html'}")
