"""Statements that the report of an evaluation makes: `report.json` of `pneumoscope evaluate --bundle`.

Names of files and patients stay out of the statements: tables of a standard are published.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pneumoscope.assessment.decision_tables import format_estimate
from pneumoscope.assessment.standards.statement import Statement, one_line, sentence
from pneumoscope.errors import DataError
from pneumoscope.evaluation.intervals import estimate_of

_MEASURES = {
    "binary_accuracy": "accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "auc": "AUC",
    "auc_viral_vs_bacterial": "AUC viral against bacterial",
    "ece": "expected calibration error",
    "brier": "Brier score",
}
_DECISIONS = {
    "answered": "images with a decision",
    "sensitivity": "of these sensitivity",
    "specificity": "specificity",
    "accuracy": "accuracy",
    "sensitivity_of_all": "no decision counted as wrong: sensitivity",
    "specificity_of_all": "specificity",
    "accuracy_of_all": "accuracy",
}
_OUTCOMES = {"outside": "outside the population", "refer": "near the threshold"}


@dataclass(frozen=True)
class EvaluationReport:
    """Report of an evaluation of a bundle.

    Attributes:
        origin: Path as it is shown.
        record: Plain data of `report.json`.
    """

    origin: str
    record: Mapping[str, Any]

    @property
    def bundle(self) -> str:
        """SHA-256 of the bundle that was evaluated; empty where the report names none."""
        return str(self.record["provenance"].get("bundle", ""))

    @property
    def model(self) -> str:
        """Name and version of the bundle, or name of the run."""
        return str(self.record["provenance"].get("model", ""))

    @property
    def synthetic(self) -> bool:
        """Whether the images are phantoms."""
        return bool(self.record.get("synthetic"))

    @property
    def title(self) -> str:
        """Images of the evaluation, as a phrase."""
        split = self.record.get("split", "all")
        return f"{self.record['films']:,} images of {self.record['patients']:,} patients" + (
            "" if split == "all" else f", {split} split"
        )

    @property
    def description(self) -> str:
        """Path, images and day of the evaluation."""
        return f"`{self.origin}`: {self.title}, {str(self.record['provenance'].get('date', ''))[:10]}"


def read_evaluation(path: Path) -> EvaluationReport:
    """Read the `report.json` of an evaluated bundle.

    Raises:
        DataError: No such file, or another one.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        # An absolute path tells of a machine what no reader of a table needs.
        origin = "/".join(path.parts[-2:]) if path.is_absolute() else path.as_posix()
        report = EvaluationReport(origin, record)
        evaluation_statements(report, "evaluation", "")
        return report
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no JSON"
        raise DataError(
            f"expected the report.json of an evaluation at {path}, found: {reason}: check the path"
        ) from error
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"expected the report.json of an evaluation at {path}, found other data: name one that pneumoscope evaluate --bundle wrote"
        ) from error


def evaluation_statements(report: EvaluationReport, name: str, trained_on: str) -> list[Statement]:
    """Statements of an evaluation.

    Images are internal where their index is that of the training. Another index is no proof of another origin: a copy, a limit or a
    filter gives one too. That images are external is therefore for people to state.

    Args:
        report: Report of the evaluation.
        name: Name of the evaluation in sources.
        trained_on: Hash of the index of the bundle's training images; empty where the bundle names none.
    """
    record = report.record
    texts = {fact: (derive(record), f"{name}: {key}") for fact, (key, derive) in _TEXTS.items()}
    texts["test_data"] = (_test_data(report), f"{name}: films, patients")
    found = [Statement(fact, sentence(one_line(text)), source) for fact, (text, source) in texts.items() if text]
    return [*found, _testing(report, name, trained_on)]


def _testing(report: EvaluationReport, name: str, trained_on: str) -> Statement:
    """Statement on internal testing, or on images whose origin people have to state."""
    text, source = one_line(f"{report.title}: {_accuracy(report.record)}"), f"{name}: measures"
    index = report.record["provenance"].get("index_hash", "")
    if trained_on and index == trained_on:
        return Statement("internal_testing", sentence(text), source)
    differs = f"The index {'differs from' if trained_on else 'cannot be compared with'} that of the training"
    return Statement("external_testing", f"{sentence(text)} {differs}.", source, settles=False)


def _figures(measures: Mapping[str, Any], names: Mapping[str, str]) -> str:
    return ", ".join(
        f"{label} {format_estimate(name, estimate_of(measures[name]))}"
        for name, label in names.items()
        if name in measures
    )


def _test_data(report: EvaluationReport) -> str:
    classes = ", ".join(f"{count:,} {name}" for name, count in report.record["films_per_class"].items())
    phantoms = " The images are phantoms." if report.synthetic else ""
    return f"Evaluation: {report.title}, {classes}.{phantoms}"


def _accuracy(record: Mapping[str, Any]) -> str:
    measures = record["measures"]
    classes = record["films_per_class"]
    several = {"accuracy": f"accuracy over {len(classes)} classes"} if len(classes) > 2 else {}
    of_two = {} if len(classes) > 2 else {"accuracy": "accuracy"}
    recalls = {f"recall_{name}": f"recall {name}" for name in classes} if several else {}
    return f"{_figures(measures, of_two | _MEASURES | several | recalls)}."


def _decisions(record: Mapping[str, Any]) -> str:
    if "acceptance" not in record:
        return ""
    acceptance = record["acceptance"]
    required = "".join(
        f" Required {each['name']} {each['least']:g}: {'met' if each['met'] else 'not met'}."
        for each in acceptance.get("required", ())
    )
    values = "; ".join(
        f"at a prevalence of {100 * each['prevalence']:.3g} % PPV {estimate_of(each['ppv'])}, NPV {estimate_of(each['npv'])}"
        for each in acceptance.get("predictive_values", ())
    )
    return f"{_figures(acceptance['measures'], _DECISIONS)}.{required}" + (f" {sentence(values)}." if values else "")


def _flow(record: Mapping[str, Any]) -> str:
    if "acceptance" not in record:
        return ""
    acceptance = record["acceptance"]
    parts = [
        f"{sum(counts.values()):,} {reference} by the reference standard: "
        + ", ".join(f"{count:,} {_OUTCOMES.get(outcome, outcome)}" for outcome, count in counts.items())
        for reference, counts in acceptance["flow"].items()
    ]
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in acceptance["reasons"].items())
    return f"{'; '.join(parts)}." + (f" Reasons, an image may have several: {reasons}." if reasons else "")


def _calibration(record: Mapping[str, Any]) -> str:
    found = record.get("decisions", {}).get("calibration", {}).get("at_own_prevalence")
    if not found:
        return ""
    line = record["decisions"]["calibration"]
    slope = "" if line["slope"] is None else f"slope {line['slope']:.2f}, intercept {line['intercept']:.2f}, "
    return (
        f"{slope}calibration error {found['ece']:.3f} and Brier score {found['brier']:.3f} for the prevalence of these images "
        f"({100 * found['prevalence']:.1f} %)."
    )


def _confusion_matrix(record: Mapping[str, Any]) -> str:
    matrix = record["confusion_matrix"]
    rows = [
        f"{reference}: " + ", ".join(f"{count:,} {name}" for name, count in zip(matrix["classes"], counts, strict=True))
        for reference, counts in zip(matrix["classes"], matrix["counts"], strict=True)
    ]
    return f"Reference against prediction by probability. {'; '.join(rows)}."


def _subgroups(record: Mapping[str, Any]) -> str:
    groups = record.get("acceptance", {}).get("groups", ())
    return "; ".join(
        f"{each['by']} {each['group']} (n = {each['images']:,}): "
        + _figures(
            each["measures"],
            {"sensitivity_of_all": "sensitivity", "specificity_of_all": "specificity", "auc": "AUC"},
        )
        for each in groups
    )


def _test_groups(record: Mapping[str, Any]) -> str:
    groups = record.get("acceptance", {}).get("groups", ())
    counts = "; ".join(f"{each['by']} {each['group']}: {each['images']:,}" for each in groups)
    return f"{counts} (groups of ten images or more)." if counts else ""


def _clusters(record: Mapping[str, Any]) -> str:
    clusters = record.get("decisions", {}).get("styles", ())
    parts = [
        f"{each['style']} ({each['normal']} normal, {each['pneumonia']} positive): sensitivity {_percent(each['sensitivity'])}, "
        f"specificity {_percent(each['specificity'])}"
        for each in clusters
    ]
    return (
        f"Measured within acquisition clusters, groups of images by what device and room leave on them: {'; '.join(parts)}."
        if parts
        else ""
    )


def _percent(fraction: float | None) -> str:
    return "undefined" if fraction is None else f"{100 * fraction:.1f} %"


def _mistakes(record: Mapping[str, Any]) -> str:
    matrix = record["confusion_matrix"]
    total = sum(map(sum, matrix["counts"]))
    right = sum(counts[index] for index, counts in enumerate(matrix["counts"]))
    shown = len(record["surest_mistakes"])
    pictures = f" The {shown} surest are shown with their images in report.html." if shown else ""
    return f"{total - right:,} of {total:,} images get another class than the reference.{pictures}"


def _measures_used(record: Mapping[str, Any]) -> str:
    named = [label for name, label in _MEASURES.items() if name in record["measures"]]
    named += ["rates of decisions, referrals and rejections", "predictive values"] if "acceptance" in record else []
    return (
        f"{', '.join(named)}; confusion matrix. Plots in report.html: ROC curve, calibration, accuracy over coverage."
    )


def _statistics(record: Mapping[str, Any]) -> str:
    interval = record["interval"]
    return (
        f"{100 * interval['level']:g} % intervals by {interval['method']}, {interval['resamples']:,} resamples; of decisions the wider of it and "
        "Wilson's; of the AUC DeLong's beside it. Threshold: the balanced operating point of the bundle, not fitted on these images."
    )


def _evaluation_run(record: Mapping[str, Any]) -> str:
    made = record["provenance"]
    packages = made.get("packages", {})
    return (
        f"`{made.get('command', '')}`, {str(made.get('date', ''))[:10]}, commit {made.get('commit', 'unknown')}, pneumoscope "
        f"{packages.get('pneumoscope', 'unknown')}, {made.get('machine', 'unknown machine')}."
    )


# Fact to the keys of report.json that state it, and the text; the text is empty where they state nothing.
_TEXTS: dict[str, tuple[str, Callable[[Mapping[str, Any]], str]]] = {
    "flow": ("acceptance.flow", _flow),
    "accuracy": ("measures", _accuracy),
    "decisions": ("acceptance.measures", _decisions),
    "calibration_measured": ("decisions.calibration", _calibration),
    "confusion_matrix": ("confusion_matrix", _confusion_matrix),
    "subgroups": ("acceptance.groups", _subgroups),
    "test_groups": ("acceptance.groups", _test_groups),
    "clusters": ("decisions.styles", _clusters),
    "mistakes": ("confusion_matrix", _mistakes),
    "measures_used": ("measures", _measures_used),
    "statistics": ("interval", _statistics),
    "evaluation_run": ("provenance", _evaluation_run),
}
