"""Blocks of docs/how-to/audit.md: three audits, false alarms on clean sets, planted leaks."""

from collections.abc import Callable

from quoting.formatting import percent_interval, table
from quoting.results import Blocks, Record, read, source

_COPIES = ("near_duplicate", "duplicate")


def _audit(name: str) -> Callable[[], str]:
    """Block with the findings of one audit."""
    return lambda: _findings(read("robustness/audits.json"), name)


def _findings(record: Record, name: str) -> str:
    found = record["sets"][name]
    rows = [[each["severity"], each["message"]] for each in found["findings"]]
    strengths = [
        f"{each['cramers_v']:.2f} in {split}"
        for split, each in found["acquisition_clusters"].items()
        if each["cramers_v"]
    ]
    note = (
        f"{found['images']:,} images of {found['patients']:,} patients. Cramér's V of acquisition cluster and class: "
        f"{', '.join(strengths)}. {source(record)}"
    )
    return table(["severity", "finding"], rows, note)


def clean_audits() -> str:
    """False alarms on clean sets."""
    record = read("robustness/clean_audits.json")
    rows = []
    for name, found in record["clean"].items():
        keys = ("sets", "tests", "sets with a warning", "sets with a cue of file, header or table", "sets with a note")
        rows.append([name, *(f"{found.get(key, 0):,}" for key in keys)])
    header = ["images show", "sets", "AUCs", "sets with a warning or error", "with a cue of file, header or table"]
    header += ["with a note (grey levels)"]
    alarms = record["false_alarms"]
    note = (
        f"{alarms['with_warning']} false alarms in {alarms['sets']} sets: {percent_interval(alarms['fraction'])} %. Where the classes "
        f"differ by a disease, it changes contrast and clusters, and a note says so. {source(record)}"
    )
    return table(header, rows, note)


def planted_leaks() -> str:
    """Planted leaks, and the finding that names each."""
    record = read("robustness/clean_audits.json")
    rows = [
        [
            name,
            f"`{found['named']}`" if "_" in found["named"] else found["named"],
            f"{found['found']} of {found['sets']}",
            ", ".join(found["severity"]),
            ", ".join(each for each in found["also"] if each not in _COPIES) or "–",
        ]
        for name, found in record["planted"].items()
    ]
    return table(["planted", "named by", "sets", "severity", "also found"], rows)


BLOCKS: Blocks = {
    "audit-tuberculosis": _audit("tuberculosis"),
    "audit-nih": _audit("NIH"),
    "audit-guangzhou": _audit("Guangzhou"),
    "clean-audits": clean_audits,
    "planted-leaks": planted_leaks,
}
