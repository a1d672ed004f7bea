"""Blocks of the model card and README: the shipped detectors on the test images."""

from dataclasses import asdict

from quoting.formatting import interval, mean, percent, percent_interval, percent_mean, table
from quoting.package import SHIPPED, ece_under_perfect_calibration, interval_of, load_bundle, metric_differences
from quoting.published import beside_medmnist_c, beside_published_work, over_seeds, pneumonia_mnist
from quoting.results import RESULTS, ROOT, Blocks, Record, detector_reports, provenance, read, read_predictions

_MEASURES = {
    "binary_accuracy": "normal or pneumonia: accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "auc": "AUC",
    "ece": "expected calibration error",
    "brier": "Brier score",
    "accuracy": "three classes: accuracy",
    "recall_bacterial": "recall, bacterial",
    "recall_viral": "recall, viral",
    "auc_viral_vs_bacterial": "viral against bacterial: AUC",
}


def bundles() -> str:
    """Network, size and training of each shipped bundle, by its own manifest."""
    rows = []
    for name in SHIPPED:
        path = ROOT / "src/pneumoscope/bundles" / f"{name}.zip"
        manifest = load_bundle(path).manifest
        training = manifest.training
        minutes = f"{training['training_seconds'] / 60:.0f}"
        size_mb = f"{path.stat().st_size / 1e6:.1f}"
        rows.append([f"`{name}`", manifest.architecture, size_mb, minutes, training["date"][:10], training["commit"]])
    return table(["detector", "network", "MB", "minutes of training, all networks added up", "made", "commit"], rows)


def _chance_error(name: str) -> str:
    """Expected ECE of one detector under perfect calibration, with its interval."""
    drawn = ece_under_perfect_calibration(read_predictions(f"detector/{name}").probability)
    return interval(asdict(interval_of(float(drawn.mean()), drawn)))


# Measures of decisions as users get them, referrals and rejections included.
_DECISIONS = {
    "answered": "images that get a decision (the others are referred)",
    "accuracy": "accuracy of these decisions",
    "accuracy_of_all": "accuracy, no decision counted as wrong",
}


def measures_on_test() -> str:
    """Measures of each detector at the balanced operating point, with intervals."""
    reports = detector_reports()
    rows = []
    for measure, title in _MEASURES.items():
        cell = interval if measure.startswith(("auc", "ece", "brier")) else percent_interval
        rows.append([title, *(cell(report["measures"][measure]) for report in reports.values())])
        if measure == "auc":
            delong = [interval(report["decisions"]["auc_delong"]) for report in reports.values()]
            rows.append(["AUC, DeLong's interval", *delong])
        if measure == "ece":
            title = "calibration error that chance alone shows, were every probability right"
            rows.append([title, *(_chance_error(name) for name in reports)])
    for measure, title in _DECISIONS.items():
        rows.append([title, *(percent_interval(r["acceptance"]["measures"][measure]) for r in reports.values())])
    first = next(iter(reports.values()))
    note = (
        f"{first['films']} films of {first['patients']} children, at the balanced operating point, by probability; the last three rows by decision. "
        "95 % intervals by bootstrap over children, in the last three rows the wider of it and Wilson's. `pneumoscope evaluate --bundle NAME --split test`. "
        f"{provenance(first['provenance'])}"
    )
    return table(["", *(f"`{name}`" for name in reports)], rows, note)


def differences() -> str:
    """Paired differences between the detectors."""
    metrics = ("binary_accuracy", "auc", "accuracy", "auc_viral_vs_bacterial")
    reports, rows = detector_reports(), []
    for one, other in (("default", "nano"), ("best", "default"), ("best", "nano")):
        files = [RESULTS / "detector" / name / "predictions.csv" for name in (one, other)]
        points = [reports[name]["decisions"]["operating_points"]["balanced"]["threshold"] for name in (one, other)]
        found = metric_differences(files[0], files[1], (points[0], points[1]), metrics)
        cells = []
        for metric, estimate in found.items():
            digits, scale = (4, 1) if metric.startswith("auc") else (1, 100)
            cells.append(estimate.as_difference(digits, scale))
        rows.append([f"`{one}` less `{other}`", *cells])
    header = ["", "accuracy, points", "AUC", "three classes, points", "viral against bacterial, AUC"]
    return table(header, rows, "95 % intervals, both detectors in one bootstrap over children.")


def summary() -> str:
    """Accuracy, sensitivity, specificity and AUC of the detectors and of the study's networks, normal or pneumonia."""
    rows = []
    for name, report in detector_reports().items():
        found = report["measures"]
        shares = [percent_interval(found[m]) for m in ("binary_accuracy", "sensitivity", "specificity")]
        rows.append([f"detector `{name}`", *shares, interval(found["auc"])])
    study = read("study/comparison.json")
    for model in study["models"]:
        found = [{"binary_accuracy": run["measures"]["accuracy"]} | run["measures"] for run in model["runs"]]
        shares = [
            percent_mean([each[m]["value"] for each in found])
            for m in ("binary_accuracy", "sensitivity", "specificity")
        ]
        rows.append([f"study: {model['title']}", *shares, mean([each["auc"]["value"] for each in found])])
    first = next(iter(detector_reports().values()))
    note = (
        f"{first['films']} test images of {first['patients']} children. Detectors: 95 % intervals by bootstrap over children; study: mean (range) over "
        f"{len(study['models'][0]['runs'])} trainings. `pneumoscope evaluate --bundle NAME`. {provenance(first['provenance'])} `{study['command']}`. "
        f"{provenance(study)}"
    )
    return table(["", "accuracy, %", "sensitivity, %", "specificity, %", "AUC"], rows, note)


def operating_points() -> str:
    """Measures of each detector at each of its operating points."""
    rows = [
        [f"`{name}`", title, f"{point['threshold']:.3f}", *map(percent_interval, point["measured"].values())]
        for name, report in detector_reports().items()
        for title, point in report["decisions"]["operating_points"].items()
    ]
    header = ["detector", "point", "threshold", "sensitivity", "specificity", "accuracy", "referred"]
    return table([*header, "accuracy of the others"], rows)


def acquisition_clusters() -> str:
    """Specificity, sensitivity and AUC in each acquisition cluster."""
    rows = []
    for name, report in detector_reports().items():
        for cluster in report["decisions"]["styles"]:
            counts = [str(cluster[part]) for part in ("style", "normal", "pneumonia")]
            shares = ["-" if cluster[k] is None else percent(cluster[k]) for k in ("specificity", "sensitivity")]
            rows.append([f"`{name}`", *counts, *shares, "-" if cluster["auc"] is None else f"{cluster['auc']:.3f}"])
    return table(["detector", "cluster", "normal", "pneumonia", "specificity", "sensitivity", "AUC"], rows)


def conformal_sets() -> str:
    """Coverage and size of the conformal prediction sets."""
    rows = [
        [f"`{name}`", percent(float(level), 0), *map(percent, found["coverage"].values()), f"{found['mean_size']:.2f}"]
        for name, report in detector_reports().items()
        for level, found in report["decisions"]["conformal"].items()
    ]
    return table(["detector", "promised", "normal", "bacterial", "viral", "classes per set"], rows)


def selective_accuracy() -> str:
    """Accuracy among the images that are not referred, by their share."""
    reports = detector_reports()
    curves: list[list[Record]] = [report["decisions"]["answered"] for report in reports.values()]
    rows = [
        [percent(points[0]["answered"], 0), *(percent(point["accuracy"]) for point in points)]
        for points in zip(*curves, strict=True)
    ]
    return table(["kept", *(f"`{name}`" for name in reports)], rows)


BLOCKS: Blocks = {
    "summary": summary,
    "detector-bundles": bundles,
    "detector-test": measures_on_test,
    "detector-differences": differences,
    "detector-points": operating_points,
    "detector-styles": acquisition_clusters,
    "detector-sets": conformal_sets,
    "detector-answered": selective_accuracy,
    "detector-beside": beside_published_work,
    "medmnist": pneumonia_mnist,
    "medmnist-c": beside_medmnist_c,
    "detector-seeds": over_seeds,
}
