"""Blocks of docs/how-to/audit.md: three audits, false alarms on clean sets, planted leaks."""

from collections.abc import Callable

from quoting.formatting import percent_interval, table
from quoting.package import wilson_interval
from quoting.results import Blocks, Record, read, source

_COPIES = ("near_duplicate", "duplicate")
_GREY = ("sharpness", "contrast", "brightness", "acquisition cluster")


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
    by_file = "sets with a cue of file, header or table"
    rows = []
    for name, found in record["clean"].items():
        named = {
            key.split(" ", 1)[1]
            for key in found
            if key.startswith(("warning ", "note ")) and key.split(" ", 1)[1] in _GREY
        }
        cells = [
            f"{found.get(key, 0):,}" for key in ("sets", "tests", by_file, "sets with a warning", "sets with a note")
        ]
        rows.append([name, *cells, ", ".join(sorted(named)) or "–"])
    header = [
        "images show",
        "sets",
        "AUCs",
        "with a cue of file, header or table",
        "with any warning or error",
        "with a note",
    ]
    sets, alarms = (sum(found.get(key, 0) for found in record["clean"].values()) for key in ("sets", by_file))
    note = (
        f"False alarms, a property of file, header or table: {alarms} in {sets} sets, {percent_interval(vars(wilson_interval(alarms, sets)))} %. "
        f"Where the classes differ by a disease, it changes grey levels, and the audit says so: that is no false alarm, and it cannot tell "
        f"that from a device. {source(record)}"
    )
    return table([*header, "grey levels or cluster named"], rows, note)


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
