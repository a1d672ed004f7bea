"""Coverage-guided fuzzing of reading, with atheris: what it finds must be an image or our own error.

    .venv/bin/pip install atheris
    .venv/bin/python experiments/fuzz_guided.py CORPUS_FOLDER -runs=20000 -max_len=20000 -timeout=5 -rss_limit_mb=1024

The corpus begins with the seeds of experiments/fuzz.py; atheris ends at the first input that fails and keeps it.
"""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["pneumoscope", "pydicom"]):
    from pneumoscope.data.reading import read_grey
    from pneumoscope.errors import UnreadableImage

from fuzz import seeds


def read(content: bytes) -> None:
    try:
        image = read_grey(Path("input"), content)
    except UnreadableImage:
        return
    assert image.ndim == 2 and image.dtype in ("uint8", "uint16")  # noqa: S101, PT018


def main() -> None:
    corpus = Path(sys.argv[1])
    corpus.mkdir(parents=True, exist_ok=True)
    for kind in ("jpeg", "png", "dicom"):
        for place, content in enumerate(seeds()[kind]):
            (corpus / f"{kind}-{place}").write_bytes(content)
    atheris.Setup(sys.argv, read)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
