"""`pneumoscope data ...`: download, index, audit, split, overview, export."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pneumoscope.cli.options import (
    DataOption,
    JsonOption,
    SkipOption,
    print_json,
    show_names_taken,
    takes_data_names,
)

if TYPE_CHECKING:
    from pneumoscope.data.audit import Audit
    from pneumoscope.data.index import Index
    from pneumoscope.data.sources import DataNames, Source

app = typer.Typer(help="Download, index, audit, split and show a data set.", no_args_is_help=True)

OutOption = Annotated[Path, typer.Option("--out", help="Folder of the results.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace the result for another data set in --out.")]
_DEFAULT_OUT = Path("runs") / "data"


def _indexed(data: Path | None, names: "DataNames", table: Path, overwrite: bool) -> tuple["Source", "Index"]:
    """Lists the images of a data set and builds their index for a table, with progress; says what the table replaces."""
    from pneumoscope.cli.progress import display
    from pneumoscope.data.earlier_tables import check_earlier_table
    from pneumoscope.data.index import build_index
    from pneumoscope.data.locate import locate

    with display() as shown:
        source = replace(locate(data, shown.report), names=names).open()
        notice = check_earlier_table(table, source, overwrite)
        show_names_taken(source)
        index = build_index(source, shown.report("films indexed"))
    if notice:
        typer.echo(notice, err=True)
    return source, index


@app.command()
def download(
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder to create (default: in the cache).", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Download the published archive (CC BY 4.0, 1.2 GB) from Mendeley Data; a second run resumes it."""
    from pneumoscope.cli.progress import display
    from pneumoscope.data.download import download_archive

    with display() as shown:
        folder = download_archive(out, report=shown.report)
    if as_json:
        print_json({"folder": str(folder)})
    else:
        typer.echo(folder)


@app.command()
def phantoms(
    out: Annotated[Path, typer.Option("--out", help="Folder to create.")] = Path("data/phantom_films"),
    train: Annotated[int, typer.Option("--train", min=20, help="Number of training images per class.")] = 45,
    test: Annotated[int, typer.Option("--test", min=1, help="Number of test images per class.")] = 12,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Random seed.")] = 0,
) -> None:
    """Draw phantom chest images in Kaggle's layout, for trying the program without radiographs."""
    from pneumoscope.data.phantom import PhantomPlan, write_phantoms
    from pneumoscope.types import SYNTHETIC_NOTICE

    typer.echo(SYNTHETIC_NOTICE, err=True)
    typer.echo(write_phantoms(out, PhantomPlan(train, test, seed=seed)))


@app.command()
@takes_data_names
def index(
    data: DataOption = None,
    *,
    names: "DataNames",
    out: OutOption = _DEFAULT_OUT,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Hash and measure every image, and write index.csv."""
    from pneumoscope.data.index import save_index
    from pneumoscope.errors import counted

    source, found = _indexed(data, names, out / "index.csv", overwrite)
    save_index(found, out / "index.csv")
    counts = Counter(f"{row.split.value} {row.label}" for row in found.rows)
    record = {
        "index": str(out / "index.csv"),
        "hash": found.hash,
        "films": dict(counts),
        "unreadable": len(found.unreadable),
        "left_out": dict(source.left_out),
    }
    if as_json:
        print_json(record)
        return
    for name, count in sorted(counts.items()):
        typer.echo(f"{name:<20}{count:>7,}")
    left_out = f", {sum(source.left_out.values()):,} left out" if source.left_out else ""
    typer.echo(f"{counted(len(found.rows), 'film')}, {len(found.unreadable)} unreadable{left_out}; {out / 'index.csv'}")


@app.command()
@takes_data_names
def audit(
    data: DataOption = None,
    *,
    names: "DataNames",
    out: OutOption = _DEFAULT_OUT,
    overwrite: OverwriteOption = False,
    skip_unreadable: SkipOption = False,
    as_json: JsonOption = False,
) -> None:
    """Check labelled images of any classes for damage, duplicates, leakage and properties that predict the label without the image's content.

    Writes audit.json, audit.md and audit.html. Exit code 1 if the data cannot be used.
    """
    from pneumoscope.cli.progress import display
    from pneumoscope.data.audit import audit as examine
    from pneumoscope.data.audit_report import check_earlier_audit, write_audit
    from pneumoscope.data.index import build_index
    from pneumoscope.data.locate import locate
    from pneumoscope.progress import one
    from pneumoscope.provenance import provenance

    with display() as shown:
        location = replace(locate(data, shown.report), names=names)
        notice = check_earlier_audit(out, location.root, overwrite)
        source = location.open_any_classes()
        show_names_taken(source)
        found = build_index(source, shown.report("films indexed"), acquisition=True)
        done = one(shown.report, "audits")
        result = examine(found)
        record = write_audit(result, found, source, out, provenance(), location.synthetic)
        done()
    if notice:
        typer.echo(notice, err=True)
    if as_json:
        print_json(record)
    else:
        _print_audit(result)
        typer.echo(f"{out / 'audit.html'}", err=True)
    result.raise_for_errors(skip_unreadable)


def _print_audit(result: "Audit") -> None:
    """Prints findings with what to do, the table of cues, and the verdict."""
    from pneumoscope.data.cue_report import cue_table, strongest_first

    said = set()
    for finding in result.findings:
        typer.echo(f"{finding.severity}: {finding.message}")
        if finding.remedy not in said:
            typer.echo(f"    {finding.remedy}.")
        said.add(finding.remedy)
    header, rows = cue_table(strongest_first(result.cues))
    lines = [header, *rows] if rows else []
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    typer.echo(result.verdict)


@app.command()
@takes_data_names
def split(
    data: DataOption = None,
    *,
    names: "DataNames",
    out: OutOption = _DEFAULT_OUT,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Random seed.")] = 0,
    folds: Annotated[int, typer.Option("--folds", min=2, help="Number of folds of the training images.")] = 10,
    fold: Annotated[int, typer.Option("--fold", min=0, help="Fold that is the validation set, from 0.")] = 0,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Draw a validation set, grouped by patient and stratified by class, and write split.csv."""
    from pneumoscope.data.split import draw_validation, save_split

    _, found = _indexed(data, names, out / "split.csv", overwrite)
    assignment = draw_validation(found, seed, folds, fold)
    save_split(found, assignment, out / "split.csv")
    splits = zip(found.rows, assignment.splits, strict=True)
    counts = Counter(f"{split.value} {row.label}" for row, split in splits)
    if as_json:
        print_json({"split": str(out / "split.csv"), "hash": assignment.hash, "films": dict(counts)})
        return
    for name, count in sorted(counts.items()):
        typer.echo(f"{name:<24}{count:>7,}")
    typer.echo(f"split {assignment.hash}; {out / 'split.csv'}")


@app.command()
@takes_data_names
def overview(
    data: DataOption = None,
    *,
    names: "DataNames",
    out: OutOption = _DEFAULT_OUT,
    skip_unreadable: SkipOption = False,
    as_json: JsonOption = False,
) -> None:
    """Draw a data set: counts, sizes, images, resizing and audit, as PNG files and one HTML page."""
    from pneumoscope import paths
    from pneumoscope.cli.progress import display
    from pneumoscope.config import Preprocessing, SplitConfig
    from pneumoscope.data.dataset import load_dataset
    from pneumoscope.data.locate import locate
    from pneumoscope.data.overview import write_overview

    with display() as shown:
        location = replace(locate(data, shown.report), names=names)
        show_names_taken(location.open())
        images_folder = paths.images_directory()
        dataset = load_dataset(location, Preprocessing(), SplitConfig(), images_folder, shown.report, skip_unreadable)
        page = write_overview(dataset, out, location.synthetic)
    if as_json:
        print_json({"page": str(page), "verdict": dataset.audit.verdict})
    else:
        typer.echo(dataset.audit.verdict)
        typer.echo(page)


@app.command()
@takes_data_names
def export(
    data: DataOption = None,
    *,
    names: "DataNames",
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            help="File to write; MedMNIST's package looks for pneumoniamnist.npz or, at 64 pixels, pneumoniamnist_64.npz.",
        ),
    ] = Path("pneumoniamnist.npz"),
    side: Annotated[int, typer.Option("--side", help="Side of the square images: 28, 64, 128 or 224 pixels.")] = 28,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Random seed of the validation set.")] = 0,
    folds: Annotated[int, typer.Option("--folds", min=2, help="Number of folds of the training images.")] = 10,
    fold: Annotated[int, typer.Option("--fold", min=0, help="Fold that is the validation set, from 0.")] = 0,
    skip_unreadable: SkipOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a data set as MedMNIST's npz file, with a validation set grouped by patient."""
    from pneumoscope.cli.progress import display
    from pneumoscope.config import Preprocessing, SplitConfig
    from pneumoscope.data.dataset import load_dataset
    from pneumoscope.data.locate import locate
    from pneumoscope.data.medmnist import check_form, save_medmnist

    check_form(out, side, side)
    with display() as shown:
        location = replace(locate(data, shown.report), names=names)
        show_names_taken(location.open())
        split_config = SplitConfig(seed, folds, fold)
        dataset = load_dataset(location, Preprocessing(side, side), split_config, None, shown.report, skip_unreadable)
        file = save_medmnist(dataset, out)
    counts = Counter(split.value for split in dataset.split.splits)
    if as_json:
        print_json({"file": str(file), "side": side, "split": dataset.split.hash, "films": dict(counts)})
    else:
        typer.echo("\n".join(f"{name:<12}{count:>7,}" for name, count in sorted(counts.items())))
        typer.echo(file)
