"""Ledger of evaluations on the test images: one JSON object per line, so that evaluations can be counted."""

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pneumoscope.errors import DataError

# Ledger of a project, used where it exists in the working directory; never created by default.
USUAL_LEDGER = Path("results") / "test-ledger.jsonl"


def ledger_in_use(named: Path | None) -> Path | None:
    """Ledger to write to: the named one, otherwise the one in the working directory; None where there is none."""
    return named or (USUAL_LEDGER if USUAL_LEDGER.is_file() else None)


def record_evaluation(ledger: Path, record: dict[str, Any], why: str) -> None:
    """Append an evaluation on the test images to a ledger.

    Args:
        ledger: File of JSON lines.
        record: The report, as in `report.json`.
        why: Purpose of the evaluation.

    Raises:
        DataError: The ledger cannot be written.
    """
    provenance = record["provenance"]
    metrics = ("accuracy", "binary_accuracy", "sensitivity", "specificity", "auc")
    append_to_ledger(
        ledger,
        commit=provenance["commit"],
        model=provenance["model"],
        config_hash=provenance["config_hash"],
        split_hash=provenance["split_hash"],
        films=record["films"],
        why=why,
        result={n: round(record["measures"][n]["value"], 4) for n in metrics if _is_known(record, n)},
    )


def _is_known(record: dict[str, Any], name: str) -> bool:
    return math.isfinite(record["measures"].get(name, {}).get("value", math.nan))


def append_to_ledger(ledger: Path, **entries: Any) -> None:
    """Append a line with the date and the given entries to a ledger.

    Raises:
        DataError: The ledger cannot be written.
    """
    line = {"date": datetime.now(UTC).isoformat(timespec="seconds"), **entries}
    try:
        ledger.parent.mkdir(parents=True, exist_ok=True)
        with ledger.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")
    except OSError as error:
        raise DataError(f"cannot write the test ledger {ledger}: {error.strerror}; name another by --ledger") from error
