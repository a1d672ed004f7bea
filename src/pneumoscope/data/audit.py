"""Audit of an index: damage, duplicates, contradictions, leakage, and properties of the files that predict the label.

The audit reports; it changes nothing. A file cue is a property that needs no network, such as bytes per pixel; its AUC for
pneumonia measures how far the file alone predicts the label. Near duplicates are pairs whose difference hashes (256 bits)
differ in at most 8 bits; the Hamming distances of all pairs are matrix products of +-1 vectors, (256 - a.b) / 2.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pneumoscope.data.index import Index
from pneumoscope.errors import DataError, LeakageError
from pneumoscope.evaluation.intervals import Estimate, auc_estimate
from pneumoscope.evaluation.metrics import roc_auc
from pneumoscope.types import Finding, Split

# Images of one child taken minutes apart differ in more bits; re-encoded or rescaled copies in fewer.
NEAR_DUPLICATE_BITS = 8
# Standard deviation of the grey levels below which an image is blank; an exposed image has 30-80.
BLANK_CONTRAST = 3.0
# Images of a class in a split below which an AUC says nothing.
_FEWEST = 10
# AUC from which a file cue ranks most images by their label, and AUC from which it is worth mentioning.
LEAKING_AUC = 0.80
NOTICEABLE_AUC = 0.65

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
    """

    code: str
    severity: Severity
    message: str
    images: tuple[str, ...] = ()
    groups: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data for `audit.json`."""
        return {
            "code": self.code,
            "severity": self.severity,
            "message": self.message,
            "films": list(self.images),
            "groups": self.groups,
        }


@dataclass(frozen=True)
class FileCue:
    """Separation of pneumonia from normal by one property of the file, without a network.

    Attributes:
        split: Split of the images.
        name: Name of the property.
        auc: AUC in the direction of `higher_in`, with its interval over patients; NaN where the property is constant or unknown,
            or a class has fewer than ten images. Below 0.5 the property points the other way than in the training images.
        higher_in: Class with the higher values, normal or pneumonia, in the training images, in these where the training images
            do not tell; empty where the AUC is NaN.
        normal_median: Median over the normal images; NaN where only one class occurs.
        pneumonia_median: Median over the images with pneumonia; NaN where only one class occurs.
    """

    split: Split
    name: str
    auc: Estimate
    higher_in: str
    normal_median: float
    pneumonia_median: float

    @property
    def is_known(self) -> bool:
        """Whether the AUC is defined."""
        return self.auc.value == self.auc.value


@dataclass(frozen=True)
class Audit:
    """Result of the audit.

    Attributes:
        findings: Findings of every severity.
        cues: File cues for the training and the test images.
        verdict: Summary of the file cues in words.
    """

    findings: tuple[AuditFinding, ...]
    cues: tuple[FileCue, ...]
    verdict: str

    def to_dict(self) -> dict[str, Any]:
        """Plain data for `audit.json`."""
        return {
            "findings": [finding.to_dict() for finding in self.findings],
            "file_cues": [asdict(cue) for cue in self.cues],
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
        for finding in self.findings:
            if finding.severity != "error" or (finding.code == "unreadable" and skip_unreadable):
                continue
            error_type = LeakageError if finding.code in _LEAKS else DataError
            first = ", ".join(finding.images[:3]) + (" and more" if len(finding.images) > 3 else "")
            where = f": {first}" if first else ""
            raise error_type(f"{finding.message}{where}. {_REMEDIES[finding.code]}")


_LEAKS = ("patient_on_two_sides", "duplicate_across_splits", "near_duplicate_across_splits")
_REMEDIES = {
    "unreadable": "Replace or remove them, or go on without them by --skip-unreadable",
    "label_conflict": "Correct the class of these films",
    "patient_on_two_sides": "Put all films of a patient into one split",
    "duplicate_across_splits": "Remove one copy of each",
    "near_duplicate_across_splits": "Remove one copy of each, or put both into one split",
    "missing_class": "Add films of the other class",
}


def audit(index: Index, split: Sequence[Split] | None = None) -> Audit:
    """Search an index for damage, duplicates, contradictions, leakage and file cues.

    Args:
        index: Index with measurements.
        split: Split of every row after a validation set was drawn; the rows' own where None.
    """
    splits = [row.split for row in index.rows] if split is None else list(split)
    findings = [
        *_damage(index),
        *_duplicates(index, splits),
        *_near_duplicates(index, splits),
        *_contradictions(index),
        *_patients_in_two_splits(index, splits),
        *_missing_classes(index),
    ]
    cues = tuple(_file_cues(index))
    return Audit(tuple(findings), cues, _verdict(cues, index))


def _damage(index: Index) -> Iterable[AuditFinding]:
    if index.unreadable:
        paths = tuple(path for path, _ in index.unreadable)
        example = index.unreadable[0][1]
        yield AuditFinding("unreadable", "error", f"{len(paths)} films cannot be read ({example})", paths)
    blank = tuple(
        row.path for row, m in zip(index.rows, index.measurements, strict=True) if m.contrast < BLANK_CONTRAST
    )
    if blank:
        yield AuditFinding("blank", "warning", f"{len(blank)} films are blank", blank)
    if index.unknown_names:
        yield AuditFinding(
            "unknown_name",
            "warning",
            f"{len(index.unknown_names)} names tell no patient; each counts as a patient of its own",
            index.unknown_names,
        )


def _duplicates(index: Index, splits: list[Split]) -> Iterable[AuditFinding]:
    groups = [members for members in _positions_by([row.sha256 for row in index.rows]).values() if len(members) > 1]
    if groups:
        images = _paths(index, groups)
        yield AuditFinding(
            "duplicate",
            "warning",
            f"{len(groups)} groups of byte-identical films ({len(images)} files)",
            images,
            len(groups),
        )
    if across := [members for members in groups if len({splits[i] for i in members}) > 1]:
        images = _paths(index, across)
        message = f"expected every film in one split, found {len(across)} byte-identical groups in two"
        yield AuditFinding("duplicate_across_splits", "error", message, images, len(across))
    if conflicting := [members for members in groups if len({index.rows[i].label for i in members}) > 1]:
        images = _paths(index, conflicting)
        message = f"expected one label for one film, found {len(conflicting)} byte-identical groups with two"
        yield AuditFinding("label_conflict", "error", message, images, len(conflicting))


def _near_duplicates(index: Index, splits: list[Split]) -> Iterable[AuditFinding]:
    pairs = near_duplicate_pairs(index)
    if pairs:
        images = _paths(index, pairs)
        yield AuditFinding("near_duplicate", "note", f"{len(pairs)} pairs of films look alike", images, len(pairs))
    if across := [pair for pair in pairs if splits[pair[0]] is not splits[pair[1]]]:
        images = _paths(index, across)
        message = f"expected every film in one split, found {len(across)} pairs that look alike in two"
        yield AuditFinding("near_duplicate_across_splits", "error", message, images, len(across))


def _contradictions(index: Index) -> Iterable[AuditFinding]:
    if index.conflicts:
        paths = tuple(path for path, _ in index.conflicts)
        message = f"expected folder and name to agree, found {len(paths)} films where {index.conflicts[0][1]}"
        yield AuditFinding("label_conflict", "error", message, paths)


def _patients_in_two_splits(index: Index, splits: list[Split]) -> Iterable[AuditFinding]:
    patients = _positions_by([row.patient for row in index.rows]).values()
    if across := [members for members in patients if len({splits[i] for i in members}) > 1]:
        message = f"expected every patient in one split, found {len(across)} in two"
        yield AuditFinding("patient_on_two_sides", "error", message, _paths(index, across), len(across))


def _missing_classes(index: Index) -> Iterable[AuditFinding]:
    # Where no split has the other class, the data set cannot be used.
    severity: Severity = "error" if len({row.finding for row in index.rows}) == 1 else "warning"
    for split, counts in _class_counts(index).items():
        for absent in (name for name, count in counts.items() if count == 0):
            [(present, count)] = [(name, count) for name, count in counts.items() if count]
            message = (
                f"{split} has {count:,} {present} films and no {absent} ones: nothing can be learnt or measured there"
            )
            yield AuditFinding("missing_class", severity, message)


def _class_counts(index: Index) -> dict[Split, dict[str, int]]:
    """Number of normal and pneumonia images of each split that has any."""
    counts: dict[Split, dict[str, int]] = {}
    for row in index.rows:
        counts.setdefault(row.split, {Finding.NORMAL.value: 0, Finding.PNEUMONIA.value: 0})[row.finding.value] += 1
    return dict(sorted(counts.items(), key=lambda each: list(Split).index(each[0])))


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


def _file_cues(index: Index) -> Iterable[FileCue]:
    values = {
        "width": [row.width for row in index.rows],
        "height": [row.height for row in index.rows],
        "aspect ratio": [row.width / row.height for row in index.rows],
        "bytes per pixel": [m.bytes_per_pixel for m in index.measurements],
        "JPEG quantisation": [m.quantisation for m in index.measurements],
        "sharpness": [m.sharpness for m in index.measurements],
        "contrast": [m.contrast for m in index.measurements],
        "brightness": [m.brightness for m in index.measurements],
    }
    label = np.array([row.finding is Finding.PNEUMONIA for row in index.rows])
    patients = np.array([row.patient for row in index.rows])
    # One direction for a property: what points the other way in the test images must show as an AUC below one half there.
    direction: dict[str, str] = {}
    for split in (Split.TRAIN, Split.TEST):
        chosen = np.array([row.split is split for row in index.rows], dtype=bool)
        if not chosen.any():
            continue
        for name, measured in values.items():
            value = np.array(measured, dtype=np.float64)[chosen]
            cue = _cue(split, name, value, label[chosen], patients[chosen], direction.get(name, ""))
            direction[name] = direction.get(name) or cue.higher_in
            yield cue


def _cue(
    split: Split,
    name: str,
    value: NDArray[np.float64],
    pneumonia: NDArray[np.bool_],
    patients: NDArray[np.str_],
    direction: str,
) -> FileCue:
    """Cue in a direction; in that in which it is above one half where none is given."""
    known = np.isfinite(value)
    value, pneumonia, patients = value[known], pneumonia[known], patients[known]
    medians = [float(np.median(value[own])) if own.any() else float("nan") for own in (~pneumonia, pneumonia)]
    if min(pneumonia.sum(), (~pneumonia).sum()) < _FEWEST or value.min() == value.max():
        return FileCue(split, name, Estimate(*[float("nan")] * 3), "", *medians)
    if not direction:
        direction = (Finding.PNEUMONIA if roc_auc(value, pneumonia) >= 0.5 else Finding.NORMAL).value
    auc = auc_estimate(value if direction == Finding.PNEUMONIA.value else -value, pneumonia, patients.tolist())
    return FileCue(split, name, auc, direction, *medians)


def _verdict(cues: tuple[FileCue, ...], index: Index) -> str:
    """Summary of the file cues in words: whether the file alone predicts the label."""
    counts = _class_counts(index)
    of_train = counts.get(Split.TRAIN, {})
    if not of_train:
        return "The files were not compared: there are no training films."
    if min(of_train.values()) < _FEWEST:
        shown = ", ".join(f"{count:,} {name}" for name, count in of_train.items())
        return f"The files were not compared: {_FEWEST} training films of each class are needed, found {shown}."
    known = [cue for cue in cues if cue.is_known]
    constant = sorted({cue.name for cue in cues} - {cue.name for cue in known})
    tail = f" Not to be seen here, being the same for every film or unknown: {', '.join(constant)}." if constant else ""
    strongest = max((cue for cue in known if cue.split is Split.TRAIN), key=lambda cue: cue.auc.value, default=None)
    if strongest is None:
        return "The files cannot give the label away: nothing about them varies." + tail
    evidence = (
        f"{strongest.name} alone, higher in {strongest.higher_in}, separates pneumonia from normal in train with AUC "
        f"{strongest.auc.as_number()}"
    )
    in_test = next((c for c in known if c.split is Split.TEST and c.name == strongest.name), None)
    test_evidence = f", in test with {in_test.auc.as_number()}" if in_test else ""
    if in_test and in_test.auc.value < 0.5:
        test_evidence += ", that is, the other way"
    if strongest.auc.value >= LEAKING_AUC:
        conclusion = "The file gives the label away"
    elif strongest.auc.value >= NOTICEABLE_AUC:
        conclusion = "The file hints at the label"
    else:
        conclusion = "The file hardly tells the label"
    advice = "" if strongest.auc.value < NOTICEABLE_AUC else " A network can learn this instead of the lung."
    return f"{conclusion}: {evidence}{test_evidence}.{advice}{tail}"
