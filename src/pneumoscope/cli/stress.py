"""`pneumoscope stress`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    from pneumoscope.data.sources import DataNames


@takes_data_names
def stress(
    model: Annotated[
        str,
        typer.Argument(
            help="Bundle (default, nano, best, .zip), run folder, .onnx, .keras, .h5, .pt or .pt2 file with its settings beside it in TOML, address of a pneumoscope service, or module:function."
        ),
    ] = "default",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Folder of the report and of what is done so far (default: stress/MODEL).", show_default=False
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
            "--settings", help="Settings of a model file (default: the TOML of its name).", show_default=False
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
    trust: Annotated[bool, typer.Option("--trust", help="Load a model that runs code of its own.")] = False,
    hours: Annotated[float, typer.Option("--hours", min=0.01, help="Time that the model may take.")] = 1.0,
    why: Annotated[
        str, typer.Option("--why", help="Reason for looking at test images, for the ledger.")
    ] = "stress command",
    skip_unreadable: SkipOption = False,
    ledger: LedgerOption = None,
    workers: WorkersOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Find out what a model reads, the lung or the file, and write stress.json, .md and .html."""
    from pneumoscope.assessment.ledger import append_to_ledger, ledger_in_use
    from pneumoscope.cli.progress import display
    from pneumoscope.data.locate import locate
    from pneumoscope.provenance import provenance
    from pneumoscope.stress import read_radiographs, stress_test, write_report
    from pneumoscope.stress.models import open_model

    folder = out or Path("stress") / Path(model.replace(":", "-")).name
    with display() as shown, open_model(model, settings, trust, worker_count(workers, None)) as opened:
        location = replace(locate(data, shown.report), names=names, limit=limit)
        source = location.open()
        show_names_taken(source)
        usual = Split.TEST if any(image.split is Split.TEST for image in source.images) else None
        progress = shown.report("radiographs read")
        radiographs = read_radiographs(source, split or usual, side, progress, skip_unreadable)
        opened.check_unseen(radiographs.file_sha256)
        test = stress_test(
            opened.predict,
            radiographs,
            model=opened.name,
            identity=opened.identity,
            threshold=opened.threshold if threshold is None else threshold,
            corrupted=corrupted,
            folder=folder / "predictions",
            hours=hours,
            progress=shown.report("images shown to the model"),
        )
        facts = provenance()
        if remark := opened.remark():
            shown.print_line(remark)
            facts["rejected"] = remark
        record = write_report(test, folder, facts, location.synthetic)
    if (split or usual) is Split.TEST and not location.synthetic and (book := ledger_in_use(ledger)):
        plain = test.measures.plain
        append_to_ledger(
            book,
            commit=facts["commit"],
            model=opened.name,
            radiographs=len(radiographs),
            why=why,
            result={"accuracy": round(plain.accuracy.value, 4), "auc": round(plain.auc.value, 4)},
        )
    if as_json:
        print_json(record)
    else:
        typer.echo("\n".join(test.verdict.sentences))
        typer.echo(f"\n{folder / 'stress.html'}")
