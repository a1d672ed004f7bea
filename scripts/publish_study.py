"""Copy the part of a finished study that is quoted or tested into results/study: its records, no images and no weights.

.venv/bin/python scripts/publish_study.py runs/study [results/study]
"""

import shutil
import sys
from pathlib import Path

KEPT = (
    "comparison.json",
    "comparison.md",
    "data/audit.json",
    "runs/*/seed-*/config.json",
    "runs/*/seed-*/provenance.json",
    "runs/*/seed-*/evaluation/test/report.json",
    "runs/*/seed-*/evaluation/test/predictions.csv",
)
LIMIT_BYTES = 100_000


def main() -> None:
    source = Path(sys.argv[1])
    target = Path(sys.argv[2] if len(sys.argv) > 2 else "results/study")
    if not (source / "comparison.json").is_file():
        sys.exit(
            f"error: expected a finished study at {source}, found no comparison.json: run `pneumoscope study` first"
        )
    chosen = [file for pattern in KEPT for file in sorted(source.glob(pattern))]
    for file in chosen:
        if file.stat().st_size > LIMIT_BYTES:
            sys.exit(f"error: expected at most {LIMIT_BYTES:,} bytes a file, found {file.stat().st_size:,}: {file}")
    shutil.rmtree(target, ignore_errors=True)
    for file in chosen:
        copy = target / file.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    size_mb = sum(file.stat().st_size for file in chosen) / 1e6
    print(f"{len(chosen)} files, {size_mb:.1f} MB in {target}")


if __name__ == "__main__":
    main()
