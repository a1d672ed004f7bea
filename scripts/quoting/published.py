"""Tables of the model card that hold more than the shipped networks: published work, and other training seeds."""

import csv
from collections.abc import Sequence
from statistics import fmean

from quoting.formatting import interval, percent, percent_interval, table
from quoting.package import SHIPPED
from quoting.results import RESULTS, ROOT, Record, detector_reports, read, source, study_models

_PUBLISHED_COLUMNS = ("accuracy", "sensitivity", "specificity", "auc", "three_classes", "note")
_SEED_MEASURES = ("binary_accuracy", "sensitivity", "specificity", "auc", "accuracy", "recall_viral")


def beside_published_work() -> str:
    """Published work, the study's networks and the shipped detectors, the least accurate first."""
    # Work on PneumoniaMNIST has a table of its own.
    rows = [[_linked(work), *(work[c] for c in _PUBLISHED_COLUMNS)] for work in _published() if not work["size"]]
    rows += [_study_row(model) for model in study_models()]
    rows += [_detector_row(name, report["measures"]) for name, report in detector_reports().items()]
    rows.sort(key=lambda row: float(row[1].split()[0]))
    return table(["", "accuracy, %", "sensitivity", "specificity", "AUC", "three classes, %", ""], rows)


def pneumonia_mnist() -> str:
    """The shipped detectors at the sizes of PneumoniaMNIST, with published work on it."""
    record = read("detector/medmnist.json")
    rows = []
    for size in next(iter(record["detectors"].values())):
        rows += [
            [size, _linked(work), work["accuracy"], "", "", work["auc"], work["note"]]
            for work in _published()
            if work["size"] == size
        ]
        for name, sizes in record["detectors"].items():
            for kind, found in sizes[size].items():
                shares = [percent_interval(found[measure]) for measure in ("accuracy", "sensitivity", "specificity")]
                rows.append([size, f"**`{name}`**", *shares, interval(found["auc"]), kind])
    header = ["pixels", "", "accuracy, %", "sensitivity", "specificity", "AUC", ""]
    return table(header, rows, f"{record['films']} test films. {source(record)}")


def beside_medmnist_c() -> str:
    """The shipped detectors on the corruptions of MedMNIST-C, with the errors that its authors give for AlexNet."""
    record = read("robustness/corruptions-test.json")
    published = _rows("published-corruptions.csv")
    rows = []
    for work in published:
        cells = [work["alteration"], work["balanced_error"]]
        for name in SHIPPED:
            strengths = record["detectors"][name][work["alteration"]].values()
            cells += [percent(fmean(each[kind]["value"] for each in strengths)) for kind in ("wrong", "refused")]
        rows.append(cells)
    rows.append(
        ["mean of the corruptions", *(percent(_mean_of_column(rows[1:], column)) for column in range(1, len(rows[0])))]
    )
    first = published[0]
    header = [
        "",
        f"{_linked(first)}: balanced error, %",
        *(f"`{n}` {kind}, %" for n in SHIPPED for kind in ("wrong", "refused")),
    ]
    note = f"Means over the strengths of a corruption; ours on {record['images']} images of the {record['split']} split. {source(record)}"
    return table(header, rows, note)


def _mean_of_column(rows: Sequence[Sequence[str]], column: int) -> float:
    """Mean of a column of percentages, as a fraction."""
    return fmean(float(row[column]) for row in rows) / 100


def _published() -> list[dict[str, str]]:
    """Figures of others on the official test images; `size` where these are PneumoniaMNIST's, with its pixels a side."""
    return _rows("published.csv")


def _rows(name: str) -> list[dict[str, str]]:
    """Rows of a table of published figures, each with its source."""
    with (ROOT / "docs/results" / name).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _linked(work: dict[str, str]) -> str:
    return f"[{work['work']}]({work['source']})"


def _study_row(model: Record) -> list[str]:
    over_seeds, runs = model["over_seeds"], model["runs"]
    # A network with two classes has one accuracy.
    binary = "binary_accuracy" if "binary_accuracy" in over_seeds else "accuracy"
    shares = [percent(over_seeds[measure]["mean"]) for measure in (binary, "sensitivity", "specificity")]
    three = percent(over_seeds["accuracy"]["mean"]) if "recall_viral" in runs[0]["measures"] else ""
    note = f"the study's, repeated; mean of {len(runs)} seeds"
    return [model["title"], *shares, f"{over_seeds['auc']['mean']:.3f}", three, note]


def _detector_row(name: str, measures: Record) -> list[str]:
    shares = [percent_interval(measures[measure]) for measure in ("binary_accuracy", "sensitivity", "specificity")]
    three = percent_interval(measures["accuracy"])
    return [f"**`{name}`**", *shares, interval(measures["auc"]), three, "ships with pneumoscope"]


def over_seeds() -> str:
    """Test measures of a detector trained anew with other seeds."""
    rows, notes = [], []
    for file in sorted((RESULTS / "detector").glob("seeds-*.json")):
        record = read(f"detector/{file.name}")
        title = f"`{record['detector']}`"
        for seed, measures in record["seeds"].items():
            rows.append([title, seed, *(_scaled(measure, measures[measure]) for measure in _SEED_MEASURES)])
        spread = record["over_seeds"]
        cells = [
            f"{_scaled(measure, spread[measure]['mean'])} ± {_scaled(measure, spread[measure]['standard_deviation'])}"
            for measure in _SEED_MEASURES
        ]
        rows.append([title, "**mean ± standard deviation**", *cells])
        notes.append(source(record))
    header = ["detector", "seed", "accuracy", "sensitivity", "specificity", "AUC", "three classes", "recall, viral"]
    return table(header, rows, " ".join(notes))


def _scaled(measure: str, value: float) -> str:
    return f"{value:.3f}" if measure == "auc" else percent(value)
