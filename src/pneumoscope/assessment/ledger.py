"""Ledger of evaluations on the test images: one JSON object per line, so that every look at them can be counted."""

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pneumoscope.errors import DataError

# Ledger of a project that keeps one: it is found, never made, in the working directory.
USUAL_LEDGER = Path("results") / "test-ledger.jsonl"


def ledger_in_use(named: Path | None) -> Path | None:
    """Ledger to write to: the named one, else the working directory's where it has one, else none."""
    return named or (USUAL_LEDGER if USUAL_LEDGER.is_file() else None)


def record_evaluation(ledger: Path, record: dict[str, Any], why: str) -> None:
    """Adds the line for an evaluation on the test images.

    Raises:
        DataError: The ledger cannot be written.
    """
    made = record["provenance"]
    chosen = ("accuracy", "binary_accuracy", "sensitivity", "specificity", "auc")
    append_to_ledger(
        ledger,
        commit=made["commit"],
        model=made["model"],
        config_hash=made["config_hash"],
        split_hash=made["split_hash"],
        images=record["films"],
        why=why,
        result={n: round(record["measures"][n]["value"], 4) for n in chosen if _is_known(record, n)},
    )


def _is_known(record: dict[str, Any], name: str) -> bool:
    return math.isfinite(record["measures"].get(name, {}).get("value", math.nan))


def append_to_ledger(ledger: Path, **look: Any) -> None:
    """Adds one evaluation on the test images, with its date.

    Raises:
        DataError: The ledger cannot be written.
    """
    line = {"date": datetime.now(UTC).isoformat(timespec="seconds"), **look}
    try:
        ledger.parent.mkdir(parents=True, exist_ok=True)
        with ledger.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")
    except OSError as error:
        raise DataError(
            f"expected to write the test ledger {ledger}, found {error.strerror}: name another by --ledger"
        ) from error
