"""Write the comparison of the study anew from its records: page, table and chart, without training or evaluation.

.venv/bin/python scripts/picture_study.py [FOLDER]

The table goes beside `results/study/comparison.json`, the chart to `docs/figures/study-comparison.png`; with FOLDER everything goes there.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

from pneumoscope.study.comparison import write_comparison

STUDY = Path("results/study")
FIGURE = Path("docs/figures/study-comparison.png")


def main() -> None:
    record = json.loads((STUDY / "comparison.json").read_text(encoding="utf-8"))
    if len(sys.argv) > 1:
        write_comparison(record, Path(sys.argv[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        write_comparison(record, Path(folder))
        shutil.copyfile(Path(folder) / "comparison.md", STUDY / "comparison.md")
        shutil.copyfile(Path(folder) / "comparison.png", FIGURE)


if __name__ == "__main__":
    main()
