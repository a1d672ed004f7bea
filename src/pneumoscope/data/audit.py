"""Is the data sound, and does the file give the label away? Findings, not repairs: nothing is changed here."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pneumoscope.data.index import Index
from pneumoscope.errors import DataError, LeakageError
from pneumoscope.evaluation.metrics import roc_auc
from pneumoscope.types import Finding, Split

# Images of one child taken minutes apart differ by more; copies re-encoded or rescaled by less.
NEAR_DUPLICATE_BITS = 8
# Grey levels: an exposed image has a standard deviation of 30-80.
BLANK_CONTRAST = 3.0
# An AUC this far from chance says that the file alone ranks most images by their label.
TELLING_AUC = 0.80
NOTICEABLE_AUC = 0.65

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class AuditFinding:
    """One thing the audit found.

    Attributes:
        code: Short, stable name.
        severity: `error` stops a study, `warning` belongs into its report, `note` is for the record.
        message: One line for a person.
        images: Paths concerned, all of them.
        groups: How many groups the images form (pairs or sets of duplicates); 0 where they form none.
    """

    code: str
    severity: Severity
    message: str
    images: tuple[str, ...] = ()
    groups: int = 0

    def as_json(self) -> dict[str, Any]:
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
    """How well one property of the file separates pneumonia from normal, with no network at all.

    Attributes:
        split: Whose images.
        name: What was measured.
        auc: Chance that a random pneumonia image has the higher value, in [0, 1]; NaN where it is constant or unknown.
        normal_median: Over the normal images.
        pneumonia_median: Over the images with pneumonia.
    """

    split: Split
    name: str
    auc: float
    normal_median: float
    pneumonia_median: float

    @property
    def strength(self) -> float:
        """AUC with its direction removed, in [0.5, 1]; NaN like `auc`."""
        return max(self.auc, 1 - self.auc) if self.auc == self.auc else self.auc


@dataclass(frozen=True)
class Audit:
    """All findings, and the file cues with their verdict."""

    findings: tuple[AuditFinding, ...]
    cues: tuple[FileCue, ...]
    verdict: str

    def as_json(self) -> dict[str, Any]:
        """Plain data for `audit.json`."""
        return {
            "findings": [finding.as_json() for finding in self.findings],
            "file_cues": [asdict(cue) | {"strength": cue.strength} for cue in self.cues],
            "verdict": self.verdict,
        }

    def raise_for_errors(self, skip_unreadable: bool = False) -> None:
        """Stops where the data cannot be used as it is.

        Args:
            skip_unreadable: Go on without the images that cannot be read.

        Raises:
            LeakageError: A patient or an image stands on two sides.
            DataError: Unreadable images or contradictory labels.
        """
        for finding in self.findings:
            if finding.severity != "error" or (finding.code == "unreadable" and skip_unreadable):
                continue
            kind = LeakageError if finding.code in _LEAKS else DataError
            first = ", ".join(finding.images[:3]) + (" and more" if len(finding.images) > 3 else "")
            raise kind(f"{finding.message}: {first}. {_REMEDIES[finding.code]}")


_LEAKS = ("patient_on_two_sides", "duplicate_across_splits", "near_duplicate_across_splits")
_REMEDIES = {
    "unreadable": "Replace or remove them, or go on without them by --skip-unreadable",
    "label_conflict": "Correct the class of these films",
    "patient_on_two_sides": "Put all films of a patient on one side",
    "duplicate_across_splits": "Remove one copy of each",
    "near_duplicate_across_splits": "Remove one copy of each, or put both on one side",
}


def audit(index: Index, split: Sequence[Split] | None = None) -> Audit:
    """Looks for damage, duplicates, contradictions, leakage and tell-tale files.

    Args:
        index: With measurements.
        split: The side of every row after a validation set was drawn; the rows' own where None.
    """
    splits = [row.split for row in index.rows] if split is None else list(split)
    findings = [
        *_damage(index),
        *_duplicates(index, splits),
        *_near_duplicates(index, splits),
        *_contradictions(index),
        *_patients_on_two_sides(index, splits),
    ]
    cues = tuple(_file_cues(index))
    return Audit(tuple(findings), cues, _verdict(cues))


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
    groups = [members for members in _by(index, [row.sha256 for row in index.rows]).values() if len(members) > 1]
    if groups:
        images = tuple(index.rows[i].path for members in groups for i in members)
        yield AuditFinding(
            "duplicate",
            "warning",
            f"{len(groups)} groups of byte-identical films ({len(images)} files)",
            images,
            len(groups),
        )
    if across := [members for members in groups if len({splits[i] for i in members}) > 1]:
        images = tuple(index.rows[i].path for members in across for i in members)
        message = f"expected every film on one side, found {len(across)} byte-identical groups on two"
        yield AuditFinding("duplicate_across_splits", "error", message, images, len(across))
    if conflicting := [members for members in groups if len({index.rows[i].label for i in members}) > 1]:
        images = tuple(index.rows[i].path for members in conflicting for i in members)
        message = f"expected one label for one film, found {len(conflicting)} byte-identical groups with two"
        yield AuditFinding("label_conflict", "error", message, images, len(conflicting))


def _near_duplicates(index: Index, splits: list[Split]) -> Iterable[AuditFinding]:
    pairs = near_duplicate_pairs(index)
    if pairs:
        images = tuple(index.rows[i].path for pair in pairs for i in pair)
        yield AuditFinding("near_duplicate", "note", f"{len(pairs)} pairs of films look alike", images, len(pairs))
    if across := [pair for pair in pairs if splits[pair[0]] is not splits[pair[1]]]:
        images = tuple(index.rows[i].path for pair in across for i in pair)
        message = f"expected every film on one side, found {len(across)} pairs that look alike on two"
        yield AuditFinding("near_duplicate_across_splits", "error", message, images, len(across))


def _contradictions(index: Index) -> Iterable[AuditFinding]:
    if index.conflicts:
        paths = tuple(path for path, _ in index.conflicts)
        message = f"expected folder and name to agree, found {len(paths)} films where {index.conflicts[0][1]}"
        yield AuditFinding("label_conflict", "error", message, paths)


def _patients_on_two_sides(index: Index, splits: list[Split]) -> Iterable[AuditFinding]:
    members_of = _by(index, [row.patient for row in index.rows])
    torn = {name: members for name, members in members_of.items() if len({splits[i] for i in members}) > 1}
    if torn:
        images = tuple(index.rows[i].path for members in torn.values() for i in members)
        message = f"expected every patient on one side, found {len(torn)} on two"
        yield AuditFinding("patient_on_two_sides", "error", message, images, len(torn))


def _by(index: Index, keys: list[str]) -> dict[str, list[int]]:
    members: dict[str, list[int]] = defaultdict(list)
    for position, key in enumerate(keys):
        members[key].append(position)
    return members


def near_duplicate_pairs(index: Index) -> list[tuple[int, int]]:
    """Positions of images that differ in at most `NEAR_DUPLICATE_BITS` of 256 bits but not in none of their bytes.

    Blank images are left out: they all look alike.
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
    for split in (Split.TRAIN, Split.TEST):
        chosen = np.array([row.split is split for row in index.rows])
        if not chosen.any():
            continue
        for name, measured in values.items():
            yield _cue(split, name, np.array(measured, dtype=np.float64)[chosen], label[chosen])


def _cue(split: Split, name: str, value: NDArray[np.float64], pneumonia: NDArray[np.bool_]) -> FileCue:
    known = np.isfinite(value)
    value, pneumonia = value[known], pneumonia[known]
    both = pneumonia.any() and not pneumonia.all()
    telling = both and value.min() < value.max()
    return FileCue(
        split,
        name,
        roc_auc(value, pneumonia) if telling else float("nan"),
        float(np.median(value[~pneumonia])) if both else float("nan"),
        float(np.median(value[pneumonia])) if both else float("nan"),
    )


def _verdict(cues: tuple[FileCue, ...]) -> str:
    """The plain answer to: does the file give the label away?"""
    known = [cue for cue in cues if cue.strength == cue.strength]
    constant = sorted({cue.name for cue in cues} - {cue.name for cue in known})
    tail = f" Not to be seen here, being the same for every film or unknown: {', '.join(constant)}." if constant else ""
    strongest = max((cue for cue in known if cue.split is Split.TRAIN), key=lambda cue: cue.strength, default=None)
    if strongest is None:
        return "The files cannot give the label away: nothing about them varies." + tail
    said = f"{strongest.name} alone separates pneumonia from normal in train with AUC {strongest.strength:.3f}"
    twin = next((c for c in known if c.split is Split.TEST and c.name == strongest.name), None)
    shift = f", in test with {twin.strength:.3f}" if twin else ""
    if strongest.strength >= TELLING_AUC:
        judgement = "The file gives the label away"
    elif strongest.strength >= NOTICEABLE_AUC:
        judgement = "The file hints at the label"
    else:
        judgement = "The file hardly tells the label"
    advice = "" if strongest.strength < NOTICEABLE_AUC else " A network can learn this instead of the lung."
    return f"{judgement}: {said}{shift}.{advice}{tail}"
