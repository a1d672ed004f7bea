"""Blocks of the data card: the audit of the data set."""

from pneumoscope.evaluation.intervals import Estimate
from quoting.formatting import significant, table
from quoting.results import Blocks, read


def file_cues() -> str:
    """Properties of the files that separate the classes."""
    rows = [
        [
            cue["split"],
            cue["name"],
            "–" if cue["auc"]["value"] is None else Estimate(**cue["auc"]).as_number(),
            cue["higher_in"],
            significant(cue["normal_median"]),
            significant(cue["pneumonia_median"]),
        ]
        for cue in read("study/data/audit.json")["file_cues"]
    ]
    return table(["split", "property", "AUC (95 % interval)", "higher in", "median normal", "median pneumonia"], rows)


def verdict() -> str:
    """Conclusion of the audit, as a quotation."""
    return f"> {read('study/data/audit.json')['verdict']}"


BLOCKS: Blocks = {"cues": file_cues, "verdict": verdict}
