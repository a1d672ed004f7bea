"""`pneumoscope calibrate`."""

from pathlib import Path
from typing import Annotated

import typer

from pneumoscope.cli.options import (
    BundleOption,
    JsonOption,
    WorkersOption,
    check_new_bundle,
    print_json,
    worker_count,
)


def calibrate(
    data: Annotated[Path, typer.Option("--data", help="The site's labelled films: a folder or a CSV table.")],
    out: Annotated[Path, typer.Option("--out", help="Of the new bundle, ending in .zip.")],
    bundle: BundleOption = "default",
    sensitivity: Annotated[
        float, typer.Option("--sensitivity", min=0, max=1, help="That the point `sensitive` is to reach.")
    ] = 0.98,
    specificity: Annotated[
        float, typer.Option("--specificity", min=0, max=1, help="That the point `specific` is to reach.")
    ] = 0.98,
    workers: WorkersOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Fit a detector's probabilities and thresholds to one's own images; the result is a new bundle."""
    from pneumoscope.bundle import find_bundle
    from pneumoscope.cli.progress import display
    from pneumoscope.config import DetectorConfig
    from pneumoscope.data.sources import open_source
    from pneumoscope.inference.pool import WorkerPool
    from pneumoscope.inference.recalibration import predict_site, recalibrate

    check_new_bundle(out)
    import scipy  # noqa: F401 - fails before the predictions where the package is missing, not after them

    parent = find_bundle(bundle)
    source = open_source(data)
    with display() as shown, WorkerPool(parent, worker_count(workers, len(source.images))) as pool:
        shown.stage("films judged", len(source.images))
        images = predict_site(parent, pool, source, shown.advance)
    made = recalibrate(parent, images, DetectorConfig(sensitivity=sensitivity, specificity=specificity), out)
    site = made.manifest.metrics["site"]
    if as_json:
        points = {name: point.threshold for name, point in made.manifest.operating_points.items()}
        print_json({"bundle": str(out), "sha256": made.sha256, "parent": parent.sha256, "thresholds": points, **site})
        return
    measured = ", ".join(
        f"{name} {100 * found['value']:.1f} % ({100 * found['low']:.1f}-{100 * found['high']:.1f})"
        for name, found in site["cross_validated"].items()
    )
    typer.echo(
        f"{out}: {site['films']} films, {site['rejected']} rejected; AUC {site['auc']:.3f}; cross-validated {measured}"
    )
