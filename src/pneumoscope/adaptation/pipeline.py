"""The whole way from a site's labelled images to its bundle and the report, resumed after a kill."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

from pneumoscope import __version__
from pneumoscope.adaptation.adapt import Adaptation, adapt, check_files, check_images, check_labels, check_method
from pneumoscope.adaptation.bundling import SiteDescription, make_site_bundle
from pneumoscope.adaptation.methods import Method, usable_methods
from pneumoscope.adaptation.report import write_adaptation_report
from pneumoscope.adaptation.site import Resumable, SiteImages, describe_site
from pneumoscope.bundle import Bundle
from pneumoscope.config import DetectorConfig
from pneumoscope.data.sources import Source
from pneumoscope.errors import PneumoscopeError
from pneumoscope.inference.pool import WorkerPool
from pneumoscope.progress import Report

MethodMaker = Callable[[SiteImages, Method, Path], Method]
"""Maker of a method that needs more than the descriptions: from these, the linear method for the same labels, and a folder of its own."""


def report_path(out: Path) -> Path:
    """File of the report on the adaptation that made, or did not make, a bundle."""
    return out.with_suffix(".html")


def adapt_site(
    parent: Bundle,
    source: Source,
    out: Path,
    description: SiteDescription,
    settings: DetectorConfig,
    workers: int,
    report: Report,
    method: str | None = None,
    maker: MethodMaker | None = None,
) -> tuple[Adaptation, Bundle | None]:
    """Adapt a bundle to a site: write the new bundle and, beside it, the report.

    Args:
        parent: Bundle that is adapted.
        source: The site's labelled images.
        out: File of the new bundle, ending in `.zip`; `<out>.resume` beside it keeps what an interrupted call has done.
        description: Name, version and intended use of the new bundle.
        settings: Targets of the operating points.
        workers: Number of worker processes, 1 or more.
        report: Progress of the stages.
        method: Name of the only method; None for all that need no PyTorch.
        maker: Maker of the only method, in place of a name.

    Returns:
        Adaptation with its figures, and the new bundle; None for the bundle where it is no better than chance, and only the report
        is written.

    Raises:
        DataError: The images can support nothing.
        InputError: A method that the parent and the site's classes do not allow.
    """
    kept = out.with_name(f"{out.name}.resume")

    def describe(by: Bundle, images: Source, folder: Path, rejected_too: bool = False) -> SiteImages:
        network = hashlib.sha256(by.model).hexdigest()
        paths = [image.path for image in images.images]
        stored = Resumable(folder, {"version": __version__, "bundle": by.sha256, "network": network, "images": paths})
        with WorkerPool(by, workers) as pool:
            return describe_site(pool, images, stored, report("images described"), rejected_too)

    def again(by: Bundle) -> SiteImages:
        # The limits of rejection are in units of features that the new network has not: what the parent let in stays.
        return describe(by, source.only(images.paths), kept / "described", rejected_too=True)

    try:
        # What can be known without reading an image through the network is said first.
        wanted = "linear" if maker else method
        check_method(parent, source.scheme, wanted)
        check_labels(source)
        check_files(parent, source)
        images = describe(parent, source, kept / "images")
        check_images(images, source.scheme)
        methods = usable_methods(parent.manifest.scheme, source.scheme, images.etiologies, wanted)
        if maker:
            methods = [maker(images, methods[0], kept / "trainings")]
        found = adapt(parent, images, source.scheme, settings, methods, report)
    except PneumoscopeError as error:
        # What these images cannot do, they cannot do the next time; a full disk or memory that is short may be there then.
        if not isinstance(error.__cause__, OSError | MemoryError):
            shutil.rmtree(kept, ignore_errors=True)
        raise
    # The bundle comes last: where it is, nothing is missing, and until then the same command goes on.
    write_adaptation_report(report_path(out), parent, found, description)
    made = make_site_bundle(parent, found, description, settings, out, again) if found.better_than_chance else None
    shutil.rmtree(kept, ignore_errors=True)
    return found, made
