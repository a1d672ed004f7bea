"""Audit of an index: damage, duplicates, contradictions, leakage, and what predicts the label beside the image's content.

The audit reports; it changes nothing. Classes are normal and pneumonia, or any number of any names. A cue (`data/cues.py`) is a
property that needs no network, such as bytes per pixel or the view; its AUC measures how far it alone predicts the label. Near duplicates are pairs whose difference hashes (256 bits)
differ in at most 8 bits; the Hamming distances of all pairs are matrix products of +-1 vectors, (256 - a.b) / 2.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pneumoscope.data.cluster_labels import ClusterLabels, find_cluster_labels
from pneumoscope.data.cue_search import find_cues
from pneumoscope.data.cue_words import LEAKING_AUC, describe_cue, first_known, verdict_of
from pneumoscope.data.cues import NOTICEABLE_AUC, TOGETHER, Cue
from pneumoscope.data.index import Index
from pneumoscope.data.labels import class_counts, class_names
from pneumoscope.data.properties import left_out_columns
from pneumoscope.data.remedies import REMEDIES, remedy_of
from pneumoscope.errors import DataError, LeakageError, counted, listed
from pneumoscope.types import Split

# Images of one child taken minutes apart differ in more bits; re-encoded or rescaled copies in fewer.
NEAR_DUPLICATE_BITS = 8
# Standard deviation of the grey levels below which an image is blank; an exposed image has 30-80.
BLANK_CONTRAST = 3.0

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class AuditFinding:
    """Finding of the audit.

    Attributes:
        code: Short, stable name.
        severity: `error` stops a study, `warning` belongs in its report, `note` is informative.
        message: Description in one line.
        images: Paths of all images concerned.
        groups: Number of groups that the images form (pairs or sets of duplicates); 0 where they form none.
        subject: Property that predicts the label; empty for other findings.
        advice: Remedy, where that does not follow from the code.
    """

    code: str
    severity: Severity
    message: str
    images: tuple[str, ...] = ()
    groups: int = 0
    subject: str = ""
    advice: str = ""

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return self.advice or REMEDIES[self.code]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for `audit.json`."""
        return {
            "code": self.code,
            "severity": self.severity,
            "message": self.message,
            "films": list(self.images),
            "groups": self.groups,
            "subject": self.subject,
            "remedy": self.remedy,
        }


@dataclass(frozen=True)
class Audit:
    """Result of the audit.

    Attributes:
        findings: Findings of every severity.
        cues: Cues for the training images, and for the validation and the test images.
        verdict: Summary of the cues in words.
        clusters: Acquisition clusters and their labels; None where they were not sought, or the images are too few.
    """

    findings: tuple[AuditFinding, ...]
    cues: tuple[Cue, ...]
    verdict: str
    clusters: ClusterLabels | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for `audit.json`."""
        return {
            "findings": [finding.to_dict() for finding in self.findings],
            "file_cues": [cue.to_dict() for cue in self.cues],
            "acquisition_clusters": self.clusters.to_dict() if self.clusters else {},
            "verdict": self.verdict,
        }

    def raise_for_errors(self, skip_unreadable: bool = False) -> None:
        """Raise the first finding of severity `error`.

        Args:
            skip_unreadable: Accept images that cannot be read.

        Raises:
            LeakageError: A patient or an image in two splits.
            DataError: Unreadable images or contradictory labels.
        """
        _raise_first_error(self.findings, skip_unreadable)


_LEAKS = ("patient_on_two_sides", "duplicate_across_splits", "near_duplicate_across_splits")


def _raise_first_error(findings: Iterable[AuditFinding], skip_unreadable: bool) -> None:
    for finding in findings:
        if finding.severity != "error" or (finding.code == "unreadable" and skip_unreadable):
            continue
        error_type = LeakageError if finding.code in _LEAKS else DataError
        first = ", ".join(finding.images[:3]) + (" and more" if len(finding.images) > 3 else "")
        where = f": {first}" if first else ""
        raise error_type(f"{finding.message}{where}. {finding.remedy}")


def audit(index: Index, split: Sequence[Split] | None = None) -> Audit:
    """Search an index for damage, duplicates, contradictions, leakage and cues to the label.

    Args:
        index: Index with measurements; acquisition clusters are sought where it has acquisition features.
        split: Split of every row after a validation set was drawn; the rows' own where None.
    """
    splits = [row.split for row in index.rows] if split is None else list(split)
    clusters = find_cluster_labels(index, splits)
    cues = find_cues(index, splits, clusters.cluster_of if clusters else None)
    findings = (*_findings(index, splits), *_left_out(index), *_predictive_cues(cues, class_names(index)))
    return Audit(findings, cues, verdict_of(cues, index, splits), clusters)


def check_splits(index: Index, split: Sequence[Split] | None = None, skip_unreadable: bool = True) -> None:
    """Check what `audit` finds of severity `error`, without its search for cues.

    Args:
        index: Index with measurements.
        split: Split of every row; the rows' own where None.
        skip_unreadable: Accept images that cannot be read.

    Raises:
        LeakageError: A patient or an image in two splits.
        DataError: Unreadable images, contradictory labels, or one class alone.
    """
    splits = [row.split for row in index.rows] if split is None else list(split)
    _raise_first_error(_findings(index, splits), skip_unreadable)


def _findings(index: Index, splits: list[Split]) -> list[AuditFinding]:
    """Findings about images, without those about cues."""
    return [
        *_damage(index),
        *_duplicates(index, splits),
        *_near_duplicates(index, splits),
        *_contradictions(index),
        *_patients_in_two_splits(index, splits),
        *_missing_classes(index, splits),
    ]


def _damage(index: Index) -> Iterable[AuditFinding]:
    if index.unreadable:
        paths = tuple(path for path, _ in index.unreadable)
        example = index.unreadable[0][1]
        yield AuditFinding(
            "unreadable", "error", f"{counted(len(paths), 'film')} that cannot be read ({example})", paths
        )
    blank = tuple(
        row.path for row, m in zip(index.rows, index.measurements, strict=True) if m.contrast < BLANK_CONTRAST
    )
    if blank:
        yield AuditFinding("blank", "warning", counted(len(blank), "blank film"), blank)
    if index.unknown_names:
        yield AuditFinding(
            "unknown_name",
            "warning",
            f"{counted(len(index.unknown_names), 'film')} without a known patient; each counts as a patient of its own",
            index.unknown_names,
        )


def _duplicates(index: Index, splits: list[Split]) -> Iterable[AuditFinding]:
    groups = [members for members in _positions_by([row.sha256 for row in index.rows]).values() if len(members) > 1]
    if groups:
        images = _paths(index, groups)
        yield AuditFinding(
            "duplicate",
            "warning",
            f"{counted(len(groups), 'group')} of byte-identical films ({counted(len(images), 'file')})",
            images,
            len(groups),
        )
    if across := [members for members in groups if len({splits[i] for i in members}) > 1]:
        images = _paths(index, across)
        message = f"expected every film in one split, found {counted(len(across), 'byte-identical group')} in two"
        yield AuditFinding("duplicate_across_splits", "error", message, images, len(across))
    if conflicting := [members for members in groups if len({index.rows[i].label for i in members}) > 1]:
        images = _paths(index, conflicting)
        message = f"expected one label for one film, found {counted(len(conflicting), 'byte-identical group')} with two"
        yield AuditFinding("label_conflict", "error", message, images, len(conflicting))


def _near_duplicates(index: Index, splits: list[Split]) -> Iterable[AuditFinding]:
    pairs = near_duplicate_pairs(index)
    if pairs:
        images = _paths(index, pairs)
        yield AuditFinding(
            "near_duplicate", "note", f"{counted(len(pairs), 'near-duplicate pair')} of films", images, len(pairs)
        )
    if across := [pair for pair in pairs if splits[pair[0]] is not splits[pair[1]]]:
        images = _paths(index, across)
        message = f"expected every film in one split, found {counted(len(across), 'near-duplicate pair')} in two"
        yield AuditFinding("near_duplicate_across_splits", "error", message, images, len(across))
    if conflicting := [pair for pair in pairs if len({index.rows[i].coarse_label for i in pair}) > 1]:
        images = _paths(index, conflicting)
        message = f"{counted(len(conflicting), 'near-duplicate pair')} of films with two labels"
        yield AuditFinding("near_duplicate_conflict", "warning", message, images, len(conflicting))


def _contradictions(index: Index) -> Iterable[AuditFinding]:
    if index.conflicts:
        paths = tuple(path for path, _ in index.conflicts)
        message = (
            f"expected folder and name to agree, found {counted(len(paths), 'film')} where {index.conflicts[0][1]}"
        )
        yield AuditFinding("label_conflict", "error", message, paths)


def _patients_in_two_splits(index: Index, splits: list[Split]) -> Iterable[AuditFinding]:
    patients = _positions_by([row.patient for row in index.rows]).values()
    if across := [members for members in patients if len({splits[i] for i in members}) > 1]:
        message = f"expected every patient in one split, found {len(across)} in two"
        yield AuditFinding("patient_on_two_sides", "error", message, _paths(index, across), len(across))


def _missing_classes(index: Index, splits: Sequence[Split]) -> Iterable[AuditFinding]:
    counts = class_counts(index, splits)
    # Where no split has another class, the data set cannot be used.
    severity: Severity = "error" if len({row.coarse_label for row in index.rows}) == 1 else "warning"
    for split, found in counts.items():
        present = [f"{count:,} {name}" for name, count in found.items() if count]
        for absent in (name for name, count in found.items() if count == 0):
            message = (
                f"{split} has no {absent} films, and {listed(present)}: nothing can be learnt or measured there"
                if len(found) == 2
                else f"{split} has no {absent} films"
            )
            yield AuditFinding("missing_class", severity, message)


def _left_out(index: Index) -> Iterable[AuditFinding]:
    if columns := left_out_columns(index.properties):
        message = f"{counted(len(columns), 'column')} of the table left out because they may identify a person: {', '.join(columns)}"
        yield AuditFinding("left_out_column", "note", message)


def _positions_by(keys: list[str]) -> dict[str, list[int]]:
    """Positions of each key."""
    positions: dict[str, list[int]] = defaultdict(list)
    for position, key in enumerate(keys):
        positions[key].append(position)
    return positions


def _paths(index: Index, groups: Iterable[Iterable[int]]) -> tuple[str, ...]:
    return tuple(index.rows[i].path for members in groups for i in members)


def near_duplicate_pairs(index: Index) -> list[tuple[int, int]]:
    """Pairs of positions of images whose hashes differ in at most `NEAR_DUPLICATE_BITS` of 256 bits, and whose bytes differ.

    Blank images are left out, since they are all alike.
    """
    usable = np.array([m.contrast >= BLANK_CONTRAST for m in index.measurements], dtype=bool)
    positions = np.flatnonzero(usable)
    if len(positions) < 2:
        return []
    signs = _hash_signs([index.measurements[i].difference_hash for i in positions])
    pairs = []
    block = 1024  # keeps the matrix of distances to a few megabytes
    for start in range(0, len(positions), block):
        distance = (256 - signs[start : start + block] @ signs.T) / 2
        for a, b in np.argwhere(distance <= NEAR_DUPLICATE_BITS):
            first, second = int(positions[start + a]), int(positions[b])
            if first < second and index.rows[first].sha256 != index.rows[second].sha256:
                pairs.append((first, second))
    return sorted(pairs)


def _hash_signs(hashes: list[str]) -> NDArray[np.float32]:
    """(n, 256) float32, bits of the hashes as -1 and 1."""
    packed = np.frombuffer(bytes.fromhex("".join(hashes)), dtype=np.uint8).reshape(len(hashes), -1)
    return np.unpackbits(packed, axis=1).astype(np.float32) * 2 - 1


def _predictive_cues(cues: Sequence[Cue], classes: Sequence[str]) -> Iterable[AuditFinding]:
    """Findings about cues that predict the label by more than chance, the strongest first."""
    predictive = [cue for cue in first_known(cues) if cue.is_predictive]
    for cue in sorted(predictive, key=lambda each: -each.auc.value):
        # Grey levels differ by the disease as well.
        least = LEAKING_AUC if cue.origin == "grey levels" else NOTICEABLE_AUC
        severity: Severity = "warning" if cue.auc.value >= least else "note"
        code = "cues_together" if cue.name == TOGETHER else "cue"
        message = describe_cue(cue, cues, classes)
        yield AuditFinding(code, severity, message, subject=cue.name, advice=remedy_of(cue))
