"""Overview of a data set: counts, shapes, example images, resizing, chest frames and audit findings, as PNGs and an HTML page."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from pneumoscope.data.alignment import load_atlas, resample_frame
from pneumoscope.data.cue_report import CUE_DIRECTION, cue_table, draw_cues
from pneumoscope.data.dataset import Dataset
from pneumoscope.data.preprocessing import chest_square
from pneumoscope.errors import counted
from pneumoscope.evaluation.intervals import range_text
from pneumoscope.reporting.page import Section, write_page
from pneumoscope.reporting.style import CLASS_COLOURS, bare, drawing, png_of, save_png
from pneumoscope.types import Split

_EXAMPLES = 4
_LISTED_PATHS = 6


def write_overview(dataset: Dataset, folder: Path, synthetic: bool) -> Path:
    """Write `overview.html` and its figures.

    Args:
        dataset: Data set to describe.
        folder: Folder to write into.
        synthetic: Whether the images are phantoms.

    Returns:
        Path of the page.
    """
    drawn = {name: draw(dataset, synthetic) for name, (draw, _) in _FIGURES.items()}
    figures = {name: png_of(figure) for name, figure in drawn.items() if figure}
    for name, png in figures.items():
        save_png(png, folder / f"{name}.png")
    page = folder / "overview.html"
    sections = [
        Section("Does the file predict the label?", [dataset.audit.verdict]),
        *_image_sections(dataset, figures),
        _cue_section(dataset, figures),
        _findings_section(dataset),
    ]
    write_page(page, "The data set", _lead(dataset), sections, synthetic)
    return page


def _lead(dataset: Dataset) -> str:
    return (
        f"{counted(len(dataset.index.rows), 'film')} of {counted(len({r.patient for r in dataset.index.rows}), 'patient')}; the validation "
        f"set is fold {dataset.split.fold} of {dataset.split.folds} of the training films, grouped by patient "
        f"(seed {dataset.split.seed}, split {dataset.split.hash[:12]})."
    )


def _image_sections(dataset: Dataset, figures: dict[str, bytes]) -> list[Section]:
    """Sections on counts, shapes, examples, resizing and chest frames."""
    counts = Section(
        "Films and patients",
        header=["split", "class", "films", "patients"],
        rows=_count_rows(dataset),
        **_figure("counts", figures),
    )
    return [
        counts,
        Section("Shapes", [_describe_shapes(dataset)], **_figure("shapes", figures)),
        Section("Films", **_figure("examples", figures)),
        Section("Resizing", _resizing_text(dataset), **_figure("resizing", figures)),
        Section("The chest frame", **_figure("chest-frames", figures)),
    ]


def _resizing_text(dataset: Dataset) -> list[str]:
    return ["The files have the size of the network's input: nothing is resized."] if _has_input_size(dataset) else []


def _has_input_size(dataset: Dataset) -> bool:
    """Whether all files have the size of the network's input."""
    height, width = dataset.images.shape[1:3]
    return all((row.width, row.height) == (width, height) for row in dataset.index.rows)


def _figure(name: str, figures: dict[str, bytes]) -> dict[str, Any]:
    """Figure of a section with its caption; nothing where there is nothing to draw."""
    return {"picture": figures[name], "caption": _FIGURES[name][1]} if name in figures else {}


def _cue_section(dataset: Dataset, figures: dict[str, bytes]) -> Section:
    header, rows = cue_table(dataset.audit.cues)
    return Section("What the file predicts", [CUE_DIRECTION], header, rows, **_figure("file-cues", figures))


def _findings_section(dataset: Dataset) -> Section:
    findings = dataset.audit.findings
    return Section(
        "What the audit found",
        ["Nothing but what stands above."] if not findings else [],
        header=["severity", "finding", "films"] if findings else [],
        rows=[
            [
                f.severity,
                f.message,
                ", ".join(f.images[:_LISTED_PATHS]) + (" …" if len(f.images) > _LISTED_PATHS else ""),
            ]
            for f in findings
        ],
    )


def _classes(dataset: Dataset) -> list[str]:
    """Names of the classes that occur, in a fixed order."""
    present = {row.label for row in dataset.index.rows}
    return [name for name in CLASS_COLOURS if name in present]


def _count_rows(dataset: Dataset) -> list[list[str]]:
    rows = []
    for split in Split:
        for name in _classes(dataset):
            images = [
                r
                for r, s in zip(dataset.index.rows, dataset.split.splits, strict=True)
                if s is split and r.label == name
            ]
            if images:
                rows.append([split.value, name, f"{len(images):,}", f"{len({r.patient for r in images}):,}"])
    return rows


def _draw_counts(dataset: Dataset, synthetic: bool) -> Figure:
    count = Counter((s, r.label) for r, s in zip(dataset.index.rows, dataset.split.splits, strict=True))
    names = _classes(dataset)
    with drawing(8, 1.0 + 1.1 * len(Split), synthetic) as figure:
        axes = figure.subplots()
        height = 0.8 / len(names)
        for k, name in enumerate(names):
            values = [count[split, name] for split in Split]
            bars = axes.barh(
                np.arange(len(Split)) + k * height,
                values,
                height * 0.92,
                color=CLASS_COLOURS[name],
                label=name,
            )
            axes.bar_label(bars, labels=[f"{v:,}" for v in values], padding=3)
        axes.set_yticks(np.arange(len(Split)) + 0.4 - height / 2, [split.value for split in Split])
        axes.invert_yaxis()
        axes.set(xlabel="films", title=f"{len(dataset.index.rows):,} films by split and class")
        axes.margins(x=0.12)
        axes.legend(loc="lower right")
    return figure


def _describe_shapes(dataset: Dataset) -> str:
    width = np.array([row.width for row in dataset.index.rows])
    height = np.array([row.height for row in dataset.index.rows])
    if _is_uniform(dataset):
        return (
            f"Every file is {width[0]} x {height[0]} pixels: these are resized copies, and the shapes of the originals, "
            "which differ between the classes, cannot be seen here."
        )
    aspect = width / height
    return (
        f"Width {width.min()}-{width.max()}, height {height.min()}-{height.max()}, aspect ratio "
        f"{range_text(aspect.min(), aspect.max(), 2)} (median {np.median(aspect):.2f})."
    )


def _is_uniform(dataset: Dataset) -> bool:
    """Whether all files have the same width and height."""
    return len({(row.width, row.height) for row in dataset.index.rows}) == 1


def _draw_shapes(dataset: Dataset, synthetic: bool) -> Figure | None:
    if _is_uniform(dataset):
        return None
    with drawing(9, 3.8, synthetic) as figure:
        scatter, histogram = figure.subplots(1, 2)
        aspects = np.array([r.width / r.height for r in dataset.index.rows])
        edges = np.linspace(min(0.7, aspects.min()), max(2.2, aspects.max()), 60)
        for name in _classes(dataset):
            images = [row for row in dataset.index.rows if row.label == name]
            width, height = np.array([r.width for r in images]), np.array([r.height for r in images])
            scatter.plot(width, height, ".", markersize=3, alpha=0.5, color=CLASS_COLOURS[name], label=name)
            histogram.hist(
                width / height, edges, histtype="step", density=True, linewidth=1.5, color=CLASS_COLOURS[name]
            )
        scatter.set(xlabel="width (pixels)", ylabel="height (pixels)", title="Shapes")
        scatter.set_xlim(left=0)
        scatter.set_ylim(bottom=0)
        scatter.legend(markerscale=4)
        histogram.set(xlabel="width / height", ylabel="density", title="Aspect ratio")
    return figure


def _training_examples(dataset: Dataset, name: str, count: int) -> list[int]:
    """Positions of training images of a class, evenly spaced in the index."""
    positions = [i for i in dataset.split.positions(Split.TRAIN).tolist() if dataset.index.rows[i].label == name]
    return [positions[i * len(positions) // count] for i in range(min(count, len(positions)))]


def _draw_examples(dataset: Dataset, synthetic: bool) -> Figure:
    names = _classes(dataset)
    with drawing(2.1 * _EXAMPLES, 2.35 * len(names), synthetic) as figure:
        grid = figure.subplots(len(names), _EXAMPLES, squeeze=False)
        for line, name in zip(grid, names, strict=True):
            for axes in line:
                bare(axes)
            for axes, position in zip(line, _training_examples(dataset, name, _EXAMPLES), strict=False):
                axes.imshow(dataset.images[position], cmap="gray", vmin=0, vmax=255)
                axes.set_title(
                    Path(dataset.index.rows[position].path).stem,
                    fontsize=7,
                    fontweight="normal",
                    loc="center",
                )
            line[0].set_ylabel(name, fontsize=11, color=CLASS_COLOURS[name], fontweight="bold")
    return figure


def _draw_resizing(dataset: Dataset, synthetic: bool) -> Figure | None:
    if _has_input_size(dataset):
        return None
    names = _classes(dataset)
    with drawing(2.9 * len(names), 5.4, synthetic) as figure:
        grid = figure.subplots(2, len(names), squeeze=False)
        for column, name in enumerate(names):
            position = _training_examples(dataset, name, 3)[-1]
            original = dataset.source.read(dataset.index.rows[position].path)
            resized = dataset.images[position]
            for axes, image, state in (
                (grid[0, column], original, "as stored"),
                (grid[1, column], resized, "resized"),
            ):
                axes.imshow(image, cmap="gray")
                axes.set_title(
                    f"{name}, {state}: {image.shape[1]} x {image.shape[0]}",
                    fontsize=9,
                    color=CLASS_COLOURS[name],
                )
                bare(axes)
    return figure


def _draw_chest_frames(dataset: Dataset, synthetic: bool) -> Figure:
    names, each = _classes(dataset), 2
    with drawing(2.0 * each * len(names), 4.5, synthetic) as figure:
        grid = figure.subplots(2, each * len(names), squeeze=False)
        for axes in grid.flat:
            bare(axes)
        for block, name in enumerate(names):
            for offset, position in enumerate(_training_examples(dataset, name, each)):
                image = chest_square(dataset.source.read(dataset.index.rows[position].path))
                _draw_chest_frame(grid[:, each * block + offset], image, name)
    return figure


def _draw_chest_frame(column: NDArray[np.object_], image: NDArray[np.uint8], name: str) -> None:
    """Draw an image with its chest frame into the upper axes, the frame's content into the lower ones."""
    frame = load_atlas().locate_chest(image)
    height, width = image.shape
    size = (frame.scale_x * width, frame.scale_y * height)
    centre = ((frame.shift_x + 1) / 2 * width, (frame.shift_y + 1) / 2 * height)
    corner = (centre[0] - size[0] / 2, centre[1] - size[1] / 2)
    upper, lower = column
    upper.imshow(image, cmap="gray", vmin=0, vmax=255)
    upper.add_patch(Rectangle(corner, *size, fill=False, color=CLASS_COLOURS[name], linewidth=1.5))
    upper.set_title(f"{name} ({frame.similarity:.2f})", fontsize=9, color=CLASS_COLOURS[name])
    lower.imshow(resample_frame(image, frame, height, width), cmap="gray", vmin=0, vmax=255)


def _draw_file_cues(dataset: Dataset, synthetic: bool) -> Figure | None:
    return draw_cues(dataset.audit.cues, synthetic)


# File name of each figure: the function that draws it, None where there is nothing to draw, and its caption.
_FIGURES: dict[str, tuple[Callable[[Dataset, bool], Figure | None], str]] = {
    "counts": (_draw_counts, "Films per split and class."),
    "shapes": (_draw_shapes, "Width, height and aspect ratio of the files, per class."),
    "examples": (_draw_examples, "Example films of each class, at the network's size."),
    "resizing": (_draw_resizing, "Films as stored, and squashed to the network's size."),
    "chest-frames": (_draw_chest_frames, "Where the chest lies in squashed films, and the frame brought to one size."),
    "file-cues": (_draw_file_cues, "How well a property of the file alone separates pneumonia from normal."),
}
