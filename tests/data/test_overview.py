import io

import numpy as np
from PIL import Image

from pneumoscope.data.overview import write_overview
from pneumoscope.types import NOTICE, SYNTHETIC_NOTICE

FIGURES = {"counts", "shapes", "examples", "resizing", "chest-frames", "file-cues"}


def test_overview_is_one_self_contained_page_and_its_figures(phantom_dataset, tmp_path):
    page = write_overview(phantom_dataset, tmp_path, synthetic=True)
    text = page.read_text()
    assert {f.stem for f in tmp_path.glob("*.png")} == FIGURES
    assert text.count("data:image/png;base64,") == len(FIGURES)
    assert "http://" not in text
    assert "https://" not in text
    assert NOTICE in text
    assert SYNTHETIC_NOTICE in text
    assert phantom_dataset.audit.verdict.split(":")[0] in text
    for figure in tmp_path.glob("*.png"):
        assert np.asarray(Image.open(io.BytesIO(figure.read_bytes())).convert("L")).std() > 5


def test_overview_of_real_images_has_no_synthetic_notice(phantom_dataset, tmp_path):
    assert SYNTHETIC_NOTICE not in write_overview(phantom_dataset, tmp_path, synthetic=False).read_text()
