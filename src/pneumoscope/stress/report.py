"""Report of a stress test: stress.json, stress.md and a self-contained stress.html."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pneumoscope.files import as_json, write_text
from pneumoscope.reporting.markdown import markdown_table
from pneumoscope.reporting.page import Section, write_page
from pneumoscope.reporting.style import png_of
from pneumoscope.stress.alterations import ALTERATIONS
from pneumoscope.stress.battery import Trial, at_strength, other_class
from pneumoscope.stress.corruptions import STRENGTHS
from pneumoscope.stress.figures import changed_decisions, draw_changed_decisions, draw_corruptions, draw_reliance
from pneumoscope.stress.measuring import StressMeasures
from pneumoscope.stress.radiographs import Radiographs
from pneumoscope.stress.running import Predictions
from pneumoscope.stress.verdict import NAMES, Verdict

# Radiographs on which the model decides otherwise that a page shows.
SHOWN = 12
_HEADER = ["radiographs", "AUC (95 % interval)", "change", "right", "sensitivity", "specificity", "other decision"]
_MEANING = (
    "Each radiograph is given one property of another radiograph. Where that is of its own class, only the exchange itself can cost anything; "
    "where it is of the other class, the model loses what it had read in that property. Decisions are those at the threshold that is best for "
    "the unaltered images, both classes counted alike: 50 % is chance; below it the model follows the property against the radiograph."
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
    title = f"Stress test of {test.model}"
    sections = _sections(test, facts, synthetic)
    write_text(folder / "stress.json", as_json(record))
    write_text(folder / "stress.md", _markdown(title, test, sections))
    write_page(folder / "stress.html", title, test.verdict.sentences[0], sections, synthetic)
    return record


def _sections(test: StressTest, facts: dict[str, Any], synthetic: bool) -> list[Section]:
    measures, radiographs = test.measures, test.radiographs
    sections = [
        Section("Verdict", text=test.verdict.sentences),
        Section(
            "What the model reads",
            text=[_MEANING],
            picture=png_of(draw_reliance(measures, test.model, NAMES, synthetic)),
            caption="Right decisions with each property of another radiograph, with 95 % intervals over patients.",
        ),
    ]
    first = [trial for trial in test.trials if not _is_corruption(trial, measures)]
    sections.append(Section("Radiographs unaltered and altered", header=_HEADER, rows=_rows(first, measures)))
    if measures.corruption_error:
        mean = sum(measures.corruption_error.values()) / len(measures.corruption_error)
        sections.append(
            Section(
                "Corruptions",
                text=[
                    f"Mean error over {len(measures.corruption_error)} corruptions and five strengths: {100 * mean:.1f} %."
                ],
                picture=png_of(draw_corruptions(measures, test.model, synthetic)),
                caption="Right decisions in percent at each strength; the corruption that costs least on top.",
            )
        )
    by_name = {trial.name: trial for trial in test.trials}
    shown = [by_name[name] for name in (*map(other_class, measures.ranked), *ALTERATIONS)]
    changed = changed_decisions(radiographs, shown, test.predictions, test.threshold, SHOWN)
    if changed:
        sections.append(
            Section(
                "Radiographs on which it decides otherwise",
                picture=png_of(draw_changed_decisions(radiographs, changed, synthetic)),
                caption="Right on the left, wrong on the right, where the radiograph differs by what is written above it; the number is the "
                "probability that the model gives.",
            )
        )
    negative, positive = int((~radiographs.positive).sum()), int(radiographs.positive.sum())
    sections.append(
        Section(
            "Radiographs, and how to cite",
            text=[
                f"{positive:,} positive and {negative:,} negative radiographs of {len(set(radiographs.patients)):,} patients; threshold "
                f"{test.threshold:.3f}{_origin(test)}; best threshold on these radiographs {measures.best_threshold:.3f} ({100 * measures.best_accuracy:.1f} % "
                f"right); expected calibration error {measures.calibration_error.as_number()}.",
                CITATION.format(version=facts.get("packages", {}).get("pneumoscope", "")),
                ", ".join(f"{key} {value}" for key, value in facts.items() if isinstance(value, str)),
            ],
        )
    )
    return sections


def _origin(test: StressTest) -> str:
    return f", the best on {test.threshold_from}" if test.threshold_from else ""


def _is_corruption(trial: Trial, measures: StressMeasures) -> bool:
    return any(trial.name == at_strength(name, s) for name in measures.corruption_error for s in STRENGTHS)


def _rows(trials: Sequence[Trial], measures: StressMeasures) -> list[list[str]]:
    return [
        [
            trial.name,
            found.auc.as_number(),
            f"{found.auc_change.value:+.3f}",
            str(found.accuracy),
            str(found.sensitivity),
            str(found.specificity),
            f"{100 * found.changed:.1f} %",
        ]
        for trial, found in ((trial, measures.trials[trial.name]) for trial in trials)
    ]


def _markdown(title: str, test: StressTest, sections: Sequence[Section]) -> str:
    parts = [f"# {title}"]
    for section in sections:
        body = [*section.text]
        if section.header:
            body.append(markdown_table(section.header, section.rows))
        if section.title == "What the model reads":
            body.append(_reliance_table(test.measures))
        if section.title == "Corruptions":
            body.append(_corruption_table(test.measures))
        if body:
            parts.append("\n\n".join([f"## {section.title}", *body]))
    return "\n\n".join(parts) + "\n"


def _reliance_table(measures: StressMeasures) -> str:
    ranked = [(name, measures.reliance[name]) for name in measures.ranked]
    return markdown_table(
        ["property", "right, of its class", "right, of the other class", "difference"],
        [[NAMES[name], str(each.same), str(each.other), each.difference.as_number()] for name, each in ranked],
    )


def _corruption_table(measures: StressMeasures) -> str:
    ranked = sorted(measures.corruption_error, key=lambda name: measures.corruption_error[name])
    return markdown_table(
        ["right, %", *(f"strength {s}" for s in STRENGTHS)],
        [
            [name, *(f"{100 * measures.trials[at_strength(name, s)].accuracy.value:.0f}" for s in STRENGTHS)]
            for name in ranked
        ],
    )
