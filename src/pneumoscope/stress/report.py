"""Report of a stress test: stress.json, stress.md and a self-contained stress.html."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pneumoscope.errors import counted
from pneumoscope.evaluation.intervals import number_text
from pneumoscope.reporting.markdown import markdown_page
from pneumoscope.reporting.page import Section, write_report_files
from pneumoscope.reporting.style import png_of
from pneumoscope.stress.alterations import ALTERATIONS
from pneumoscope.stress.battery import Trial, at_strength, other_class
from pneumoscope.stress.corruptions import STRENGTHS
from pneumoscope.stress.figures import (
    ChangedDecision,
    changed_decisions,
    draw_changed_decisions,
    draw_corruptions,
    draw_reliance,
)
from pneumoscope.stress.measuring import Reliance, StressMeasures
from pneumoscope.stress.radiographs import Radiographs
from pneumoscope.stress.running import Predictions
from pneumoscope.stress.verdict import NAMES, NOTICEABLE, Verdict, is_excluded, is_read

# Radiographs on which the model decides otherwise that a page shows.
SHOWN = 12
_HEADER = [
    "radiographs",
    "AUC",
    "change of AUC",
    "accuracy, %",
    "sensitivity, %",
    "specificity, %",
    "other decision, %",
]
_RELIANCE = [
    "property",
    "from the same class, %",
    "from the other class, %",
    "lost, points",
    "read",
]
_CORRUPTIONS = "Corruptions"
_MEANING = (
    "Each radiograph is given one property of another radiograph. Where that is of its own class, only the exchange itself can cost anything; "
    "where it is of the other class, the model loses what it had read in that property. Balanced accuracy, the mean of sensitivity and "
    "specificity, at the threshold that is best for the unaltered radiographs: 50 % is chance; below it the model follows the property against "
    "the radiograph. The table shows it with its 95 % interval over patients.",
    f"A property counts as read where at least {100 * NOTICEABLE:g} points are lost and the interval is above 0, and as not read where the interval lies "
    f"between -{100 * NOTICEABLE:g} and {100 * NOTICEABLE:g} points. Intervals of the points lost hold for all {len(NAMES)} properties at once in 95 % (Bonferroni), so that a model which reads none "
    "is said to read one in at most 5 of 100 tests.",
)
_ALTERED = (
    "Of its class and of the other class: with that property of another radiograph. Lungs only, corners only: all else one grey level. Lungs hidden: each one grey level. "
    "Markers hidden: corners smoothed. Markers added: a letter in a corner. Blocks shuffled: cut into 7 x 7 blocks, which change places. One exposure: all with the same grey levels. One frame: every chest in "
    "the usual place. Stored alike: negatives with the geometry and storage of positives."
)
CITATION = (
    "The pneumoscope maintainers. pneumoscope {version}: stress test of radiograph classifiers. State the model, the radiographs, the "
    "number of radiographs of each class, and the figures with their intervals."
)


@dataclass(frozen=True)
class StressTest:
    """Result of a stress test.

    Attributes:
        model: Name of the model.
        radiographs: Radiographs that were shown.
        trials: Trials that were run.
        predictions: Probabilities by trial.
        threshold: Probability from which on the model calls a radiograph positive.
        measures: Figures.
        verdict: Verdict.
        threshold_from: Radiographs on which the threshold was chosen, in words; empty where it is the model's or the user's own.
    """

    model: str
    radiographs: Radiographs
    trials: tuple[Trial, ...]
    predictions: Predictions
    threshold: float
    measures: StressMeasures
    verdict: Verdict
    threshold_from: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for `stress.json`."""
        measures, radiographs = self.measures, self.radiographs
        return {
            "model": self.model,
            "threshold": self.threshold,
            "threshold_from": self.threshold_from,
            "radiographs": {
                "negative": int((~radiographs.positive).sum()),
                "positive": int(radiographs.positive.sum()),
            },
            "patients": len(set(radiographs.patients)),
            "radiographs_sha256": radiographs.sha256,
            "verdict": {
                "reads": self.verdict.reads,
                "also": list(self.verdict.also),
                "text": list(self.verdict.sentences),
            },
            "stress_score": asdict(measures.within),
            "stress_score_images": dict(zip(("negative", "positive"), measures.within_images, strict=True)),
            "within_clusters": measures.clustered,
            "reliance": {name: asdict(each) for name, each in measures.reliance.items()},
            "calibration_error": asdict(measures.calibration_error),
            "best_threshold": measures.best_threshold,
            "best_accuracy": measures.best_accuracy,
            "corruption_error": measures.corruption_error,
            "trials": {name: asdict(each) for name, each in measures.trials.items()},
        }


def write_report(test: StressTest, folder: Path, facts: dict[str, Any], synthetic: bool = False) -> dict[str, Any]:
    """Write stress.json, stress.md and stress.html into a folder, each atomically.

    Args:
        test: Result.
        folder: Folder, which is made.
        facts: Provenance: version, commit, date, machine.
        synthetic: Whether the radiographs are phantoms.

    Returns:
        What stress.json holds.
    """
    record = test.to_dict() | {"synthetic": synthetic, "provenance": facts}
    folder.mkdir(parents=True, exist_ok=True)
    title, lead = f"Stress test of {test.model}", test.verdict.sentences[0]
    sections = _sections(test, facts, synthetic)
    text = markdown_page(title, _in_text(sections, test.measures), lead)
    write_report_files(folder / "stress", record, title, lead, sections, synthetic, text)
    return record


def _sections(test: StressTest, facts: dict[str, Any], synthetic: bool) -> list[Section]:
    measures = test.measures
    altered = [trial for trial in test.trials if not _is_corruption(trial, measures)]
    sections = [
        Section("Validation and corruptions", text=test.verdict.sentences[1:]),
        Section(
            "What the model reads",
            text=_MEANING,
            header=_RELIANCE,
            rows=_reliance_rows(measures),
            picture=png_of(draw_reliance(measures, test.model, NAMES, synthetic)),
            caption="Balanced accuracy with each property of another radiograph, with 95 % intervals over patients.",
        ),
        Section(
            "Radiographs unaltered and altered",
            text=[
                "At the model's threshold; in brackets 95 % intervals over patients. The last column says how many radiographs get another decision than "
                "unaltered.",
                _ALTERED,
            ],
            header=_HEADER,
            rows=_rows(altered, measures),
        ),
    ]
    if measures.corruption_error:
        sections.append(_corruptions(test, synthetic))
    if changed := _changed(test):
        sections.append(
            Section(
                "Radiographs on which it decides otherwise",
                picture=png_of(draw_changed_decisions(test.radiographs, changed, synthetic)),
                caption="Pairs: unaltered and right on the left, altered and wrong on the right. Above each pair the file and its class, what was "
                "altered, and the probability that the model gives before and after.",
            )
        )
    return [*sections, _facts(test, facts)]


def _corruptions(test: StressTest, synthetic: bool) -> Section:
    measures = test.measures
    mean = sum(measures.corruption_error.values()) / len(measures.corruption_error)
    shown = next(trial for trial in test.trials if _is_corruption(trial, measures))
    images = counted(len(shown.positions(test.radiographs)), "radiograph")
    return Section(
        _CORRUPTIONS,
        text=[
            f"Mean balanced error, 1 less the balanced accuracy at the model's threshold, over {len(measures.corruption_error)} corruptions and "
            f"five strengths: {100 * mean:.1f} %, on {images} each."
        ],
        picture=png_of(draw_corruptions(measures, test.model, synthetic)),
        caption="Balanced accuracy in percent at each strength; the corruption that costs least on top.",
    )


def _changed(test: StressTest) -> list[ChangedDecision]:
    by_name = {trial.name: trial for trial in test.trials}
    shown = [by_name[name] for name in (*map(other_class, test.measures.ranked), *ALTERATIONS)]
    return changed_decisions(test.radiographs, shown, test.predictions, test.threshold, SHOWN)


def _facts(test: StressTest, facts: dict[str, Any]) -> Section:
    measures, radiographs = test.measures, test.radiographs
    positive = int(radiographs.positive.sum())
    origin = f", the best on {test.threshold_from}" if test.threshold_from else ""
    return Section(
        "Radiographs, and how to cite",
        text=[
            f"{positive:,} positive and {len(radiographs) - positive:,} negative radiographs of "
            f"{counted(len(set(radiographs.patients)), 'patient')}; threshold {test.threshold:.3f}{origin}; best threshold on these radiographs "
            f"{measures.best_threshold:.3f} (accuracy {100 * measures.best_accuracy:.1f} %); expected calibration error "
            f"{measures.calibration_error.as_number()}.",
            CITATION.format(version=facts.get("packages", {}).get("pneumoscope", "")),
            ", ".join(f"{key} {value}" for key, value in facts.items() if isinstance(value, str)),
        ],
    )


def _in_text(sections: Sequence[Section], measures: StressMeasures) -> list[Section]:
    """Sections for a page without figures: what these show alone becomes a table, or is left out."""
    header = ["balanced accuracy, %", *(f"strength {s}" for s in STRENGTHS)]
    tabled = [
        replace(each, header=header, rows=_corruption_rows(measures)) if each.title == _CORRUPTIONS else each
        for each in sections
    ]
    return [each for each in tabled if each.text or each.header]


def _is_corruption(trial: Trial, measures: StressMeasures) -> bool:
    return any(trial.name == at_strength(name, s) for name in measures.corruption_error for s in STRENGTHS)


def _rows(trials: Sequence[Trial], measures: StressMeasures) -> list[list[str]]:
    return [
        [
            trial.name,
            found.auc.as_number(),
            number_text(found.auc_change.value, 3, signed=True),
            *(each.as_percent(0) for each in (found.accuracy, found.sensitivity, found.specificity)),
            f"{100 * found.changed:.0f}",
        ]
        for trial, found in ((trial, measures.trials[trial.name]) for trial in trials)
    ]


def _reliance_rows(measures: StressMeasures) -> list[list[str]]:
    ranked = [(name, measures.reliance[name]) for name in measures.ranked]
    return [
        [
            NAMES[name],
            each.same.as_percent(),
            each.other.as_percent(),
            each.difference.as_percent(),
            _read(each),
        ]
        for name, each in ranked
    ]


def _read(reliance: Reliance) -> str:
    if is_read(reliance):
        return "yes"
    return "no" if is_excluded(reliance) else "not shown"


def _corruption_rows(measures: StressMeasures) -> list[list[str]]:
    ranked = sorted(measures.corruption_error, key=lambda name: measures.corruption_error[name])
    return [
        [name, *(f"{100 * measures.trials[at_strength(name, s)].balanced_accuracy.value:.0f}" for s in STRENGTHS)]
        for name in ranked
    ]
