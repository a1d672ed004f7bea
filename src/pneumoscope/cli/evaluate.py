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
    run: Annotated[
        Path | None,
        typer.Argument(help="A finished run folder; the detector that ships with the package where none is named."),
    ] = None,
    bundle: Annotated[
        str | None,
        typer.Option("--bundle", help="A bundle's path, or default or nano, instead of a run.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Of a bundle's report; evaluation/BUNDLE/SPLIT where none is named."),
    ] = None,
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
    """Measure a trained network or a bundle, every number with its interval; writes report.json, .md and .html."""
    from pneumoscope.training.allocator import keep_freed_memory

    keep_freed_memory()
    from pneumoscope.cli.progress import display
    from pneumoscope.data.locate import locate
    from pneumoscope.errors import ConfigError
    from pneumoscope.study.single import evaluate_bundle, evaluate_run

    if run is not None and (bundle is not None or out is not None):
        raise ConfigError("expected a run folder, or --bundle and --out, found both: leave one out")
    with display() as shown:
        location = locate(data, shown.report)
        if run is not None:
            folder = run / "evaluation" / split.value
            record = evaluate_run(run, location, split, why, ledger, shown.report, inception_weights, skip_unreadable)
        else:
            named = bundle or "default"
            folder = out or Path("evaluation") / Path(named).stem / split.value
            record = evaluate_bundle(named, location, split, why, ledger, shown.report, folder, skip_unreadable)
    if as_json:
        print_json(record)
    else:
        typer.echo((folder / "report.md").read_text(encoding="utf-8").rstrip("\n"))
        typer.echo(f"\n{folder / 'report.html'}")
