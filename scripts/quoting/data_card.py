"""Blocks of the data card: the audit of the data set."""

from quoting.formatting import table
from quoting.package import Cue, Estimate, Split, cue_table
from quoting.results import Blocks, Record, read


def file_cues() -> str:
    """Properties of the files that separate the classes."""
    return table(*cue_table([_cue(record) for record in read("study/data/audit.json")["file_cues"]]))


def _cue(record: Record) -> Cue:
    return Cue(
        Split(record["split"]),
        record["name"],
        Estimate(**{part: _number(value) for part, value in record["auc"].items()}),
        record["higher_in"],
        {name: _number(record[f"{name}_median"]) for name in ("normal", "pneumonia")},
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def verdict() -> str:
    """Conclusion of the audit, as a quotation."""
    return f"> {read('study/data/audit.json')['verdict']}"


BLOCKS: Blocks = {"cues": file_cues, "verdict": verdict}
