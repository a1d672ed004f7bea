"""`pneumoscope adapt` and its first method, `pneumoscope calibrate`."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pneumoscope.cli.options import (
    NOT_MET,
    BundleOption,
    JsonOption,
    WorkersOption,
    check_new_bundle,
    print_json,
    show_names_taken,
    takes_data_names,
    worker_count,
)

if TYPE_CHECKING:
    from pneumoscope.adaptation.methods import Method
    from pneumoscope.adaptation.site import SiteImages
    from pneumoscope.data.sources import DataNames, Source

_DATA_HELP = "Labelled images of the site: a folder per class, a table with the columns path and class, or a public set as published."
SiteDataOption = Annotated[Path, typer.Option("--data", help=_DATA_HELP)]
PositiveOption = Annotated[str, typer.Option("--positive", help="Name of the positive class, such as tuberculosis.")]
NewBundleOption = Annotated[Path, typer.Option("--out", help="New bundle, a .zip file.")]
SensitivityOption = Annotated[
    float, typer.Option("--sensitivity", min=0.01, max=1, help="Sensitivity of the operating point `sensitive`.")
]
SpecificityOption = Annotated[
    float, typer.Option("--specificity", min=0.01, max=1, help="Specificity of the operating point `specific`.")
]


class AdaptationMethod(StrEnum):
    """Methods of adaptation by name."""

    AUTO = "auto"
    CALIBRATE = "calibrate"
    LINEAR = "linear"
    FINE_TUNE = "fine-tune"


@takes_data_names
def adapt(
    data: Annotated[
        Path | None,
        typer.Option("--data", help=_DATA_HELP, show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="New bundle, a .zip file; with --suggest the list, a .csv file.",
            show_default=False,
        ),
    ] = None,
    bundle: BundleOption = "default",
    method: Annotated[
        AdaptationMethod,
        typer.Option(
            "--method",
            help="Method: calibrate (new calibration of the bundle's probabilities), linear (a new head on its features), auto (the "
            "simpler of these two that is as good), or fine-tune (all weights; needs PyTorch, takes minutes to hours).",
        ),
    ] = AdaptationMethod.AUTO,
    positive: PositiveOption = "pneumonia",
    name: Annotated[
        str,
        typer.Option("--name", help="Name of the new detector (default: the name of the file).", show_default=False),
    ] = "",
    version: Annotated[str, typer.Option("--version", help="Version of the new bundle.")] = "1",
    intended_use: Annotated[
        str,
        typer.Option(
            "--intended-use",
            help="Intended use of the new bundle (default: the population of the data).",
            show_default=False,
        ),
    ] = "",
    licence: Annotated[
        str,
        typer.Option("--licence", help="Licence of the new bundle (default: that of its parent).", show_default=False),
    ] = "",
    *,
    names: "DataNames",
    sensitivity: SensitivityOption = 0.98,
    specificity: SpecificityOption = 0.98,
    suggest: Annotated[
        int | None,
        typer.Option(
            "--suggest",
            min=1,
            help="Number of unlabelled images of --from to suggest for labelling, instead of adapting.",
            show_default=False,
        ),
    ] = None,
    pool: Annotated[
        list[str] | None,
        typer.Option(
            "--from", help="Unlabelled images: a folder, a pattern or a table (repeatable).", show_default=False
        ),
    ] = None,
    workers: WorkersOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Adapt a bundle to a site's population with labelled images, measured by cross-validation.

    Writes the bundle and a report (.html) beside it. Exit code 4: no better than chance, and no bundle was made.
    """
    from pneumoscope.errors import ConfigError

    if suggest is not None:
        if not pool or data:
            wrong = "--data: leave it out" if data else "no --from: add it"
            raise ConfigError(f"expected --suggest N --from IMAGES, found {wrong}")
        _suggest(suggest, pool, bundle, out, workers, as_json, names.columns.get("path", ""))
        return
    if data is None or out is None or pool:
        absent = " and ".join(name for name, value in (("--data", data), ("--out", out)) if value is None)
        wrong = f"no {absent}: add it" if absent else "--from without --suggest: leave it out"
        raise ConfigError(f"expected --data IMAGES --out FILE.zip, or --suggest N --from IMAGES, found {wrong}")
    from pneumoscope.adaptation.bundling import SiteDescription
    from pneumoscope.adaptation.pipeline import adapt_site, report_path
    from pneumoscope.adaptation.report import summary_lines
    from pneumoscope.bundle import find_bundle
    from pneumoscope.cli.progress import display
    from pneumoscope.config import DetectorConfig

    check_new_bundle(out)
    if method is AdaptationMethod.FINE_TUNE:
        from pneumoscope.training.allocator import keep_freed_memory

        keep_freed_memory()
        # A missing package is found before the work, not after it.
        from pneumoscope.adaptation.fine_tuning import fine_tune
    parent, source = (
        find_bundle(bundle),
        _without_test(_open_source(data, positive, names)),
    )
    page = report_path(out)
    with display() as shown:

        def fine_tuned(images: "SiteImages", linear: "Method", folder: Path) -> "Method":
            return fine_tune(parent, images, source, linear, folder, shown, shown.report("images prepared"))

        found, made = adapt_site(
            parent,
            source,
            out,
            SiteDescription(name or out.stem, version, intended_use, licence, data.name),
            DetectorConfig(sensitivity=sensitivity, specificity=specificity),
            worker_count(workers, len(source.images)),
            shown.report,
            None if method is AdaptationMethod.AUTO else method.value,
            fine_tuned if method is AdaptationMethod.FINE_TUNE else None,
        )
    if as_json:
        identity = {"bundle": str(out), "sha256": made.sha256} if made else {"bundle": None, "sha256": None}
        points = {name: point.threshold for name, point in made.manifest.operating_points.items()} if made else {}
        print_json(
            identity | {"parent_sha256": parent.sha256, "report": str(page), "thresholds": points, **found.to_dict()}
        )
    else:
        typer.echo(f"{out}: {found.verdict}")
        typer.echo("\n".join(summary_lines(found)))
        typer.echo(f"report: {page}")
        if made:
            typer.echo(f"next, on images that are not among these: pneumoscope evaluate --bundle {out} --data ...")
    if made is None:
        if as_json:
            typer.echo(f"{out}: {found.verdict}", err=True)
        raise typer.Exit(NOT_MET)


def _suggest(
    count: int, pool: list[str], bundle: str, out: Path | None, workers: int, as_json: bool, path_column: str
) -> None:
    """Names the images to label next, on stdout or in a table."""
    import csv
    import sys

    from pneumoscope.adaptation.suggestion import suggest
    from pneumoscope.bundle import find_bundle
    from pneumoscope.cli.progress import display
    from pneumoscope.errors import DataError
    from pneumoscope.files import atomic_write
    from pneumoscope.inference.inputs import open_inputs
    from pneumoscope.inference.pool import WorkerPool

    if out is not None and (out.suffix.lower() != ".csv" or out.exists()):
        raise DataError(f"expected a file ending in .csv that does not exist, found {out}: name another")
    detector, files = find_bundle(bundle), [Path(name) for name in open_inputs(pool, sys.stdin, path_column).walk()]
    if not files:
        raise DataError(f"expected images in {', '.join(pool)}, found none: check the path")
    with display() as shown, WorkerPool(detector, worker_count(workers, len(files))) as workers_of_bundle:
        found = suggest(detector, workers_of_bundle, files, count, shown.report("images described"))
    if out is not None:
        with atomic_write(out) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(["path", "class", "probability"])
            # Paths in a table are relative to its folder.
            writer.writerows([Path(name).resolve(), "", f"{probability:.4f}"] for name, probability in found)
    if as_json:
        print_json([{"file": name, "probability": probability} for name, probability in found])
    else:
        typer.echo("\n".join([str(out)] if out else [name for name, _ in found]))


def _open_source(data: Path, positive: str, names: "DataNames") -> "Source":
    """Labelled images, with advice on class names where there are others."""
    from pneumoscope.bundle.manifest import check_class_names
    from pneumoscope.data.sources import open_source
    from pneumoscope.errors import ConfigError, DataError

    try:
        source = open_source(data, positive, names=names)
    except DataError as error:
        if positive != "pneumonia" or not data.exists():
            raise
        raise DataError(f"{error}; classes of other names: add --positive NAME or --class-map") from error
    show_names_taken(source)
    try:
        check_class_names(source.scheme.names)
    except ValueError as error:
        raise ConfigError(
            f"expected two class names of letters, digits and spaces, other than refer, rejected and outside, found {error}: rename them"
        ) from error
    return source


def _without_test(source: "Source") -> "Source":
    """Labelled images without those of the test part, where there are others."""
    from pneumoscope.types import Split

    kept = [image.path for image in source.images if image.split is not Split.TEST]
    left_out = len(source.images) - len(kept)
    if not kept or not left_out:
        return source
    typer.echo(f"{left_out:,} test images are left out, for evaluate --split test", err=True)
    return source.only(kept)


@takes_data_names
def calibrate(
    data: SiteDataOption,
    out: NewBundleOption,
    bundle: BundleOption = "default",
    positive: PositiveOption = "pneumonia",
    *,
    names: "DataNames",
    sensitivity: SensitivityOption = 0.98,
    specificity: SpecificityOption = 0.98,
    workers: WorkersOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Fit the calibration and thresholds of a bundle to a site's images (adapt --method calibrate)."""
    adapt(
        data=data,
        out=out,
        bundle=bundle,
        method=AdaptationMethod.CALIBRATE,
        positive=positive,
        names=names,
        sensitivity=sensitivity,
        specificity=specificity,
        workers=workers,
        as_json=as_json,
    )
