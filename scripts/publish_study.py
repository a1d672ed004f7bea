"""Copies the part of a finished study that is kept with the project: numbers, tables, a few figures; no films, no weights.

.venv/bin/python scripts/publish_study.py runs/study [results/study]
"""

import shutil
import sys
from pathlib import Path

KEPT = ("study.json", "comparison.*", "data/audit.json", "data/split.csv", "data/*.png", "data/overview.html")
KEPT_PER_RUN = (
    "config.json",
    "provenance.json",
    "metrics.csv",
    "evaluation/test/report.*",
    "evaluation/test/predictions.csv",
)
# Figures and pages hold films or weigh half a megabyte: one seed's are enough.
KEPT_OF_SEED_0 = ("evaluation/test/*.png",)
LIMIT_MB = 12


def main() -> None:
    source = Path(sys.argv[1])
    target = Path(sys.argv[2] if len(sys.argv) > 2 else "results/study")
    if not (source / "comparison.json").is_file():
        sys.exit(
            f"error: expected a finished study at {source}, found no comparison.json: run `pneumoscope study` first"
        )
    shutil.rmtree(target, ignore_errors=True)
    chosen = [file for pattern in KEPT for file in source.glob(pattern)]
    for run in source.glob("runs/*/seed-*"):
        patterns = KEPT_PER_RUN + (KEPT_OF_SEED_0 if run.name == "seed-0" else ())
        chosen += [f for pattern in patterns for f in run.glob(pattern) if f.suffix != ".html"]
    for file in chosen:
        place = target / file.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)
    size = sum(f.stat().st_size for f in target.rglob("*") if f.is_file()) / 1e6
    print(f"{len(chosen)} files, {size:.1f} MB in {target}")
    if size > LIMIT_MB:
        sys.exit(f"error: expected at most {LIMIT_MB} MB, found {size:.1f}: keep less")


if __name__ == "__main__":
    main()
