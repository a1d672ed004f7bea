"""Run the notebook of the tutorial and keep its outputs in it.

PNEUMOSCOPE_DATA=... .venv/bin/python scripts/run_notebook.py [docs/tutorial/notebook.ipynb] [copy.ipynb]

Without PNEUMOSCOPE_DATA it runs on drawn phantoms, as a test does; what is committed was run on the radiographs of the study.
"""

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parents[1] / "docs" / "tutorial" / "notebook.ipynb"


def run(notebook: Path, out: Path, folder: Path) -> None:
    """Execute a notebook in a folder and write it with its outputs; the first cell that fails ends it."""
    if data := os.environ.get("PNEUMOSCOPE_DATA"):  # outputs name files, and are to name no folder of this machine
        (folder / Path(data).name).symlink_to(Path(data).resolve())
        os.environ["PNEUMOSCOPE_DATA"] = Path(data).name
    content = nbformat.read(notebook, as_version=4)
    NotebookClient(
        content, timeout=1200, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    for cell in content.cells:
        cell.metadata.pop("execution", None)  # times of this run
    nbformat.write(content, out)


def main() -> None:
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else NOTEBOOK
    with tempfile.TemporaryDirectory() as folder:
        run(source, Path(sys.argv[2]) if len(sys.argv) > 2 else source, Path(folder))


if __name__ == "__main__":
    main()
