"""`pneumoscope bundle show | verify | export`."""

from pathlib import Path
from typing import Annotated

import typer

from pneumoscope.cli.options import DataOption, InceptionOption, JsonOption, check_new_bundle, print_json

app = typer.Typer(help="Show, verify and export bundles.", no_args_is_help=True)
_NAMED = typer.Argument(help="Bundle: default, nano, best, or a path.")


@app.command()
def show(bundle: Annotated[str, _NAMED] = "default", as_json: JsonOption = False) -> None:
    """Show the manifest of a bundle: classes, data, operating points, intended use and licence."""
    from pneumoscope.bundle import find_bundle
    from pneumoscope.evaluation.intervals import Estimate, range_text

    used = find_bundle(bundle)
    manifest = used.manifest
    if as_json:
        print_json(manifest.to_dict() | {"sha256": used.sha256})
        return
    typer.echo(f"{manifest.name} {manifest.version}  {manifest.architecture}, {' / '.join(manifest.classes)}")
    typer.echo(f"sha256        {used.sha256}")
    if manifest.parent:
        typer.echo(f"parent        {manifest.parent}")
    typer.echo(f"for           {manifest.intended_use}")
    typer.echo(f"fitted on     {manifest.fitted_on}")
    if site := manifest.metrics.get("site"):
        found = {
            name: Estimate(**value) for name, value in site["cross_validated"].items() if None not in value.values()
        }
        typer.echo(
            f"measured      by nested cross-validation: AUC {found['auc'].as_number()}; of images with a decision, sensitivity "
            f"{found['sensitivity']}, specificity {found['specificity']}"
        )
    for name, point in manifest.operating_points.items():
        typer.echo(
            f"{name:<14}{manifest.scheme.positive} from {100 * point.threshold:.1f} %, refer "
            f"{range_text(100 * point.refer_from, 100 * point.refer_to, 1)} %; sensitivity {100 * point.sensitivity:.1f} %, specificity "
            f"{100 * point.specificity:.1f} %"
        )
    typer.echo(f"licence       {manifest.licence}")
    origin = "parent's data" if manifest.parent else "data"
    typer.echo(f"{origin:<14}{manifest.citation}")
    typer.echo(manifest.notice)


@app.command()
def verify(bundle: Annotated[str, _NAMED] = "default", as_json: JsonOption = False) -> None:
    """Check every part of a bundle against its hash, and its network against stored outputs on this machine."""
    from pneumoscope.inference.detector import load_detector

    detector = load_detector(bundle)
    difference = detector.verify()
    if as_json:
        print_json({"sha256": detector.bundle.sha256, "largest_difference": difference})
        return
    typer.echo(f"{bundle}: whole; its golden outputs come out within {difference:.1g} on this machine")


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Finished run folder.")],
    out: Annotated[Path, typer.Option("--out", help="New bundle, a .zip file.")],
    data: DataOption = None,
    inception_weights: InceptionOption = None,
    name: Annotated[
        str, typer.Option("--name", help="Name of the detector (default: that of the run).", show_default=False)
    ] = "",
    version: Annotated[str, typer.Option("--version", help="Version of the bundle.")] = "1",
    intended_use: Annotated[
        str,
        typer.Option(
            "--intended-use", help="Intended use (default: the images that it was trained on).", show_default=False
        ),
    ] = "",
    licence: Annotated[
        str, typer.Option("--licence", help="Licence of the bundle (default: not stated).", show_default=False)
    ] = "",
    citation: Annotated[
        str,
        typer.Option(
            "--citation", help="Source of the images (default: the name of the data set).", show_default=False
        ),
    ] = "",
    ages: Annotated[
        str,
        typer.Option("--ages", help="Ages that it is valid for, such as 1-5 (default: any).", show_default=False),
    ] = "",
    views: Annotated[
        str,
        typer.Option("--views", help="Views that it is valid for, such as AP,PA (default: any).", show_default=False),
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Export a training run as a bundle, which predicts without PyTorch."""
    from pneumoscope.cli.progress import display
    from pneumoscope.config import DetectorConfig
    from pneumoscope.data.locate import locate
    from pneumoscope.detector_training.bundling import export_run

    check_new_bundle(out)
    about = DetectorConfig(
        name, version, intended_use=intended_use, licence=licence, citation=citation, ages=ages, views=views
    )
    with display() as shown:
        made = export_run(run, locate(data, shown.report), out, inception_weights, shown.report, about)
    parity = made.manifest.training["largest_difference_of_onnx"]
    if as_json:
        print_json({"bundle": str(out), "sha256": made.sha256, "largest_difference_of_onnx": parity})
        return
    typer.echo(f"{out}: ONNX Runtime agrees with PyTorch within {parity:.1g}; next: pneumoscope predict --bundle {out}")
