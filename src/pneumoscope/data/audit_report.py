"""Report of an audit: audit.json, audit.md and a self-contained audit.html."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from pneumoscope.config import Preprocessing
from pneumoscope.data.audit import Audit
from pneumoscope.data.audit_figures import EXAMPLES, draw_clusters
from pneumoscope.data.cluster_labels import ClusterLabels
from pneumoscope.data.cue_report import cue_table, draw_cues, strongest_first
from pneumoscope.data.index import Index
from pneumoscope.data.labels import class_names
from pneumoscope.data.preprocessing import prepare
from pneumoscope.data.sources import Source
from pneumoscope.errors import DataError, counted
from pneumoscope.reporting.page import Section, write_report_files
from pneumoscope.reporting.style import png_of
from pneumoscope.types import Split

_EXAMPLE_SIZE = 128
_LISTED_PATHS = 4
_CUE_TEXT = (
    "AUC of one property without a network, with its 95 % interval over patients: 0.5 is chance, 1 perfect separation. Numbers have one direction, that which "
    "they have in the training images (column “higher in”); below 0.5 in the test images, the property points the other way there. A word, such as "
    "a device, counts by how often it occurs in each class among other patients' images. A cue is a finding where even an interval that counts how many "
    "properties were tested lies above 0.5: a warning from an AUC of 0.65 on, for grey levels, which the disease changes as well, from 0.80 on."
)
_CLUSTER_TEXT = (
    "Images are grouped by what device and room leave on them: noise, exposure and markers, not anatomy. Where the fraction of the classes differs from "
    "cluster to cluster, a network can read the device and be right. Disease changes grey levels too: look whether the images of a cluster "
    "have an origin or a finding in common."
)
_BLIND = (
    "An audit sees properties of files, headers and tables, and grey levels as a whole. It does not see what is burnt into the image beyond its corners, "
    "tubes and electrodes, posture, or labels that are wrong in the same way everywhere; it takes each image without a known patient for a patient of its own; "
    "and it cannot distinguish whether grey levels differ by the disease or by the device. What it does not find may be there all the same, above all in few images."
)


def check_earlier_audit(folder: Path, data: Path, overwrite: bool = False) -> str:
    """Check that a folder has no audit of another data set, and no other files of the names of a report.

    Args:
        folder: Folder of the report.
        data: Data set, `Source.root`.
        overwrite: Whether what is there may be replaced.

    Returns:
        Notice of what will be replaced; empty where there is nothing.

    Raises:
        DataError: No folder, or one that cannot be read; an audit of another data set or files of its names, and `overwrite` is False.
    """
    try:
        earlier = _earlier_audit(folder / "audit.json")
        # A page without its audit.json is somebody else's, or that of an audit that was interrupted.
        pages = [name for name in ("audit.html", "audit.md") if (folder / name).exists()]
    except OSError as error:
        raise DataError(
            f"expected a folder for the report at {folder}, found {error.strerror or error} ({folder / 'audit.json'}): "
            "name another by --out"
        ) from error
    if earlier is None and not pages:
        return ""
    name, found_id, date = earlier or ("", "", "")
    what = f"that of {name}" if name else f"{'audit.json' if earlier else pages[0]} of unknown data"
    if found_id != _data_id(data) and not overwrite:
        where = (" at another path" if found_id else " by an earlier version") if name == _name_of(data) else ""
        raise DataError(
            f"expected no audit of another data set in {folder}, found {what}{where}: name another folder by --out, or add --overwrite"
        )
    subject = f"the audit of {name}" if name else what
    return f"replaces {subject}{f' of {date}' if date else ''} in {folder}"


def _earlier_audit(file: Path) -> tuple[str, str, str] | None:
    """Name of the data set of an audit.json, its identifier and the date, each empty where it has none; None without the file.

    Raises:
        OSError: A file that cannot be read.
    """
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        record = None
    if not isinstance(record, dict):  # whatever it is, it is replaced only on demand
        return "", "", ""
    return str(record.get("data", "")), str(record.get("data_id", "")), str(record.get("date", ""))[:10]


def _name_of(data: Path) -> str:
    """Name of a data set, which "." has too."""
    return data.name or data.resolve().name


def _data_id(data: Path) -> str:
    """Identifier of a data set by where it lies, of 16 hexadecimal digits: reports hold no paths of a machine."""
    return sha256(str(data.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def write_audit(
    result: Audit, index: Index, source: Source, folder: Path, facts: dict[str, Any], synthetic: bool = False
) -> dict[str, Any]:
    """Write audit.json, audit.md and audit.html into a folder, each atomically.

    Args:
        result: Audit of the index.
        index: Index.
        source: Source of its images, of which the page shows examples.
        folder: Folder, which is made.
        facts: Provenance: version, commit, date, machine.
        synthetic: Whether the images are phantoms.

    Returns:
        What audit.json holds.
    """
    record = result.to_dict() | {
        "data": _name_of(source.root),
        "data_id": _data_id(source.root),
        "classes": class_names(index),
        "index_hash": index.hash,
        **facts,
    }
    folder.mkdir(parents=True, exist_ok=True)
    title, sections = f"Audit of {_name_of(source.root)}", _sections(result, index, source, facts, synthetic)
    write_report_files(folder / "audit", record, title, _lead(index), sections, synthetic)
    return record


def _lead(index: Index) -> str:
    patients = len({row.patient for row in index.rows})
    return (
        f"{counted(len(index.rows), 'image')} of {counted(patients, 'patient')} in {len(class_names(index))} classes."
    )


def _sections(result: Audit, index: Index, source: Source, facts: dict[str, Any], synthetic: bool) -> list[Section]:
    header, rows = cue_table(strongest_first(result.cues))
    figure = draw_cues(result.cues, synthetic)
    cues = Section(
        "What predicts the label",
        [_CUE_TEXT] if figure else ["Nothing can be compared: no property varies, or the images are too few."],
        header if figure else [],
        rows if figure else [],
        png_of(figure) if figure else b"",
        caption="AUC of each property, and of all of file and header together, with 95 % intervals over patients."
        if figure
        else "",
    )
    return [
        _findings_section(result),
        Section("Images and patients", header=["split", "class", "images", "patients"], rows=_count_rows(index)),
        cues,
        *([_cluster_section(result.clusters, index, source, synthetic)] if result.clusters else []),
        Section("What an audit does not see", [_BLIND]),
        Section(
            "How this was made", [", ".join(f"{key} {value}" for key, value in facts.items() if isinstance(value, str))]
        ),
    ]


def _findings_section(result: Audit) -> Section:
    rows: list[list[str]] = []
    advised: dict[str, str] = {}
    for finding in result.findings:
        more = " …" if len(finding.images) > _LISTED_PATHS else ""
        images = f": {', '.join(finding.images[:_LISTED_PATHS])}{more}" if finding.images else ""
        first = advised.setdefault(finding.remedy, finding.subject)
        advice = f"as for {first}" if first != finding.subject else finding.remedy
        rows.append([finding.severity, f"{finding.message}{images}", advice])
    nothing = "Nothing was found: no damage, no copies, no patient in two splits, and no property that predicts the label by more than chance."
    header = ["severity", "finding", "what to do"] if rows else []
    return Section("What was found", [result.verdict] if rows else [nothing, result.verdict], header, rows)


def _count_rows(index: Index) -> list[list[str]]:
    rows = []
    for split in Split:
        for name in class_names(index):
            own = [row.patient for row in index.rows if row.split is split and row.coarse_label == name]
            if own:
                rows.append([split.value, name, f"{len(own):,}", f"{len(set(own)):,}"])
    return rows


def _cluster_section(clusters: ClusterLabels, index: Index, source: Source, synthetic: bool) -> Section:
    association = [f"{clusters.cramers_v(split):.2f} in {split.value}" for split in clusters.counts]
    rows = []
    for number in range(len(next(iter(clusters.counts.values())))):
        row = [f"{number + 1}"]
        for counts in clusters.counts.values():
            total = int(counts[number].sum())
            row += [f"{total:,}", *(f"{100 * count / total:.0f} %" if total else "–" for count in counts[number])]
        rows.append(row)
    header = ["cluster"]
    for split in clusters.counts:
        header += [f"images in {split.value}", *(f"{name} in {split.value}" for name in clusters.classes)]
    return Section(
        "Acquisition clusters",
        [
            _CLUSTER_TEXT,
            f"Cramér's V of cluster and class: {', '.join(association)} (0: every cluster has the same classes; 1: each has one).",
        ],
        header,
        rows,
        png_of(draw_clusters(clusters, _examples(clusters, index, source), synthetic)),
        caption="Examples of each cluster, and the fraction of each class among its images.",
    )


def _examples(clusters: ClusterLabels, index: Index, source: Source) -> list[list[Any]]:
    """A few images of each cluster, evenly over their order."""
    settings = Preprocessing(height=_EXAMPLE_SIZE, width=_EXAMPLE_SIZE, fit="pad")
    examples = []
    for number in range(len(next(iter(clusters.counts.values())))):
        own = np.flatnonzero(clusters.cluster_of == number)
        chosen = own[np.linspace(0, len(own) - 1, min(EXAMPLES, len(own))).round().astype(int)] if len(own) else own
        examples.append([prepare(source.read(index.rows[i].path), settings) for i in chosen])
    return examples
