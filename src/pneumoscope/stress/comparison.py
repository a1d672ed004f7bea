"""Comparison of models that were shown the same radiographs: stress scores, paired; corruption errors beside those of the first.

The mean corruption error is that of MedMNIST-C (Di Salvo et al. 2024, arXiv 2406.17536), which is ImageNet-C's (Hendrycks and
Dietterich 2019, arXiv 1903.12261) with the balanced error: errors summed over the strengths of a corruption, divided by those of
a reference network, mean over the corruptions. The reference is the first model, not AlexNet, and the corruptions are 23, so that it
compares the models of one test and not with published figures.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pneumoscope.errors import InputError
from pneumoscope.evaluation.intervals import Estimate, interval_of, number_text, range_text
from pneumoscope.evaluation.metrics import Floats
from pneumoscope.reporting.page import Section, write_report_files
from pneumoscope.reporting.style import png_of
from pneumoscope.stress.figures import draw_models
from pneumoscope.stress.measuring import draws_of, stress_scores
from pneumoscope.stress.report import StressTest
from pneumoscope.stress.verdict import CHANCE, NAMES, NOTHING

_HEADER = ["model", "stress score", "less the first", "AUC unaltered", "reads", "mean corruption error"]
_THRESHOLDS = ["model", "threshold", "accuracy", "best threshold", "accuracy there", "points lost"]


@dataclass(frozen=True)
class ComparedModel:
    """Model beside others.

    Attributes:
        test: Its stress test.
        recipe: Configuration without its seed; one of its own where it is no run.
        difference: Its stress score less that of the first model, the patients of either drawn alike.
        corruption_error: Mean corruption error, 1 for the first model; NaN where no corruptions were run, or the first makes no error
            at any.
        scores: (draws,) its stress score on all patients, then on those of each bootstrap draw, the same draws for all models.
    """

    test: StressTest
    recipe: str
    difference: Estimate
    corruption_error: float
    scores: Floats = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for `comparison.json`."""
        measures = self.test.measures
        return {
            "model": self.test.model,
            "stress_score": asdict(measures.within),
            "less_the_first": asdict(self.difference),
            "auc": asdict(measures.plain.auc),
            "accuracy": asdict(measures.plain.accuracy),
            "threshold": self.test.threshold,
            "best_accuracy": measures.best_accuracy,
            "best_threshold": measures.best_threshold,
            "reads": self.test.verdict.reads,
            "also": list(self.test.verdict.also),
            "reliance": {name: each.difference.value for name, each in measures.reliance.items()},
            "mean_corruption_error": self.corruption_error,
        }


@dataclass(frozen=True)
class SeedSpread:
    """Figures of trainings that differ in their seed alone.

    Attributes:
        recipe: Name of the configuration.
        seeds: Number of trainings.
        stress_score: Least, mean and largest stress score.
        auc: Least, mean and largest AUC on the unaltered radiographs.
        accuracy: Least, mean and largest accuracy.
    """

    recipe: str
    seeds: int
    stress_score: tuple[float, float, float]
    auc: tuple[float, float, float]
    accuracy: tuple[float, float, float]


def compare(tests: Sequence[StressTest], recipes: Sequence[str]) -> list[ComparedModel]:
    """Models beside each other, in the given order.

    Args:
        tests: Stress tests on the same radiographs.
        recipes: Recipe of each model; equal for trainings that differ in their seed alone.

    Raises:
        InputError: Tests on other radiographs.
    """
    first = tests[0]
    if any(test.radiographs.sha256 != first.radiographs.sha256 for test in tests):
        raise InputError("expected tests on the same radiographs, found others: test all models in one command")
    draws = draws_of(first.radiographs)
    scores = [stress_scores(first.radiographs, test.predictions, draws) for test in tests]
    errors = [mean_corruption_error(t.measures.corruption_error, first.measures.corruption_error) for t in tests]
    differences = [_difference(each, scores[0]) for each in scores]
    return [ComparedModel(*each) for each in zip(tests, recipes, differences, errors, scores, strict=True)]


def _difference(score: Floats, other: Floats) -> Estimate:
    """Difference of two stress scores, (draws,) each, the patients of either drawn alike."""
    difference = score - other
    return interval_of(float(difference[0]), difference[1:])


def mean_corruption_error(error: dict[str, float], reference: dict[str, float]) -> float:
    """Mean over corruptions of a model's error divided by that of a reference, but for those at which the reference makes none; NaN if all."""
    ratios = [error[name] / reference[name] for name in error if reference[name]]
    return float(np.mean(ratios)) if ratios else float("nan")


def seed_spreads(compared: Sequence[ComparedModel]) -> list[SeedSpread]:
    """Spread over the seeds of every recipe that was trained several times."""
    found = []
    for recipe in dict.fromkeys(each.recipe for each in compared):
        own = [each.test for each in compared if each.recipe == recipe]
        if len(own) > 1:
            columns = zip(
                *((t.measures.within.value, t.measures.plain.auc.value, t.measures.plain.accuracy.value) for t in own),
                strict=True,
            )
            found.append(SeedSpread(own[0].model, len(own), *((min(c), float(np.mean(c)), max(c)) for c in columns)))
    return found


def write_comparison(
    compared: Sequence[ComparedModel], folder: Path, facts: dict[str, Any], synthetic: bool = False
) -> dict[str, Any]:
    """Write comparison.json, comparison.md and comparison.html into a folder, each atomically.

    Args:
        compared: Models.
        folder: Folder, which is made.
        facts: Provenance: version, commit, date, machine.
        synthetic: Whether the radiographs are phantoms.

    Returns:
        What comparison.json holds.
    """
    spreads, radiographs = seed_spreads(compared), compared[0].test.radiographs
    record = {
        "radiographs": len(radiographs),
        "radiographs_sha256": radiographs.sha256,
        "within_clusters": compared[0].test.measures.clustered,
        "models": [each.to_dict() for each in compared],
        "seeds": [asdict(each) for each in spreads],
        "synthetic": synthetic,
        "provenance": facts,
    }
    sections = _sections(compared, spreads, synthetic)
    title = f"Stress test of {len(compared)} models"
    folder.mkdir(parents=True, exist_ok=True)
    write_report_files(folder / "comparison", record, title, order_in_words(compared), sections, synthetic)
    return record


def order_in_words(compared: Sequence[ComparedModel]) -> str:
    """Which model has the best stress score, whether the next one is distinguishable, and which unaltered radiographs would choose."""
    ranked = sorted(compared, key=lambda each: -each.test.measures.within.value)
    by_auc = max((each.test for each in compared), key=lambda test: test.measures.plain.auc.value)
    plain = by_auc.measures.plain.auc.as_number()
    if np.isnan(compared[0].test.measures.within.value):
        return f"Acquisition clusters with both classes have too few images for a stress score; {by_auc.model} has the best AUC on unaltered radiographs, {plain}."
    best, second = (each.test for each in ranked[:2])
    score = f"{best.model} has the best stress score, {best.measures.within.as_number()}"
    if _difference(ranked[0].scores, ranked[1].scores).low <= 0:
        score += f", but the difference from {second.model} may be chance"
    if best is by_auc:
        return f"{score}; it has the best AUC on unaltered radiographs too, {plain}."
    return (
        f"{score}; by the AUC on unaltered radiographs {by_auc.model} would have been chosen, {plain}, "
        f"whose stress score is {by_auc.measures.within.as_number()}."
    )


def _sections(compared: Sequence[ComparedModel], spreads: Sequence[SeedSpread], synthetic: bool) -> list[Section]:
    best_first = sorted(compared, key=lambda each: -each.test.measures.within.value)
    sections = [
        Section(
            "Models, the best stress score first",
            text=[
                f"The stress score is the AUC {'within acquisition clusters' if compared[0].test.measures.clustered else 'over all radiographs'}, "
                "with negatives that have the geometry and storage of positives. "
                f"Differences are from {compared[0].test.model}, the patients of both drawn alike. The mean corruption error is the balanced error under "
                "corruptions as a fraction of that model's (100 %), mean over the corruptions."
            ],
            header=_HEADER,
            rows=[_row(each) for each in best_first],
            picture=png_of(
                draw_models([(each.test.model, each.test.measures) for each in best_first], NAMES, synthetic)
            ),
            caption="AUC on unaltered radiographs and stress score, with 95 % intervals over patients; below them the balanced accuracy that "
            "each property of a radiograph of the other class costs.",
        ),
        Section(
            "Thresholds",
            text=["Accuracy at each model's threshold, and at the one that would be best on these radiographs."],
            header=_THRESHOLDS,
            rows=[_threshold_row(each) for each in best_first],
        ),
    ]
    if spreads:
        rows = [[s.recipe, str(s.seeds), *map(_spread, (s.stress_score, s.auc, s.accuracy))] for s in spreads]
        header = ["configuration", "seeds", "stress score", "AUC unaltered", "accuracy"]
        text = [
            "Least, mean and largest of trainings that differ in their seed alone: a smaller difference between two models may be chance."
        ]
        sections.append(Section("What the seed makes", text=text, header=header, rows=rows))
    return sections


def _row(each: ComparedModel) -> list[str]:
    measures, verdict = each.test.measures, each.test.verdict
    error = "" if np.isnan(each.corruption_error) else f"{100 * each.corruption_error:.0f} %"
    read = {CHANCE: "not shown to tell the classes apart", NOTHING: "not found"}.get(verdict.reads, verdict.reads)
    difference = each.difference
    return [
        each.test.model,
        measures.within.as_number(),
        "" if difference.low == difference.high == 0 else difference.as_difference(),
        measures.plain.auc.as_number(),
        ", ".join([read, *verdict.also]),
        error,
    ]


def _threshold_row(each: ComparedModel) -> list[str]:
    measures, accuracy = each.test.measures, each.test.measures.plain.accuracy
    return [
        each.test.model,
        f"{each.test.threshold:.3f}",
        str(accuracy),
        f"{measures.best_threshold:.3f}",
        f"{100 * measures.best_accuracy:.1f} %",
        f"{100 * (measures.best_accuracy - accuracy.value):.1f}",
    ]


def _spread(found: tuple[float, float, float]) -> str:
    least, mean, largest = found
    return f"{number_text(mean)} ({range_text(least, largest)})"
