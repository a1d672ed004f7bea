"""An environment with Keras and this package, apart from the one that the tests run in."""

import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def make_keras_environment(folder: Path) -> Path:
    """Python of a new environment with TensorFlow, Keras and this package; takes a minute and a package index.

    Raises:
        OSError: The packages cannot be installed.
    """
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    words = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "tensorflow-cpu",
        "-e",
        f"{ROOT}[evaluate]",
    ]
    done = subprocess.run([python, *words], capture_output=True, text=True)
    if done.returncode:
        raise OSError(done.stderr.strip().splitlines()[-1])
    return python


def run_with_keras(python: Path, *words: object, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python with some arguments in a folder, in the environment of Keras, on this repository's source."""
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(
        [python, *map(str, words)], cwd=folder, env=os.environ | quiet, capture_output=True, text=True, check=False
    )


if __name__ == "__main__":  # python tests/keras_environment.py FOLDER: PNEUMOSCOPE_TEST_KERAS then names what it prints
    sys.stdout.write(f"{make_keras_environment(Path(sys.argv[1]))}\n")
