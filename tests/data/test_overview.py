import io
from dataclasses import replace

import numpy as np
from PIL import Image

from pages import words_of
from pneumoscope.data.cue_report import cue_table
from pneumoscope.data.cues import Cue
from pneumoscope.data.overview import write_overview
from pneumoscope.evaluation.intervals import Estimate
from pneumoscope.types import NOTICE, SYNTHETIC_NOTICE, Split

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


def test_what_one_sentence_says_is_text_and_no_picture(phantom_dataset, tmp_path):
    """Where all files have the size of the network's input, and nothing about them can be compared."""
    side = phantom_dataset.images.shape[1]
    rows = tuple(replace(row, width=side, height=side) for row in phantom_dataset.index.rows)
    cues = tuple(replace(cue, auc=Estimate(*[float("nan")] * 3), higher_in="") for cue in phantom_dataset.audit.cues)
    alike = replace(phantom_dataset, index=replace(phantom_dataset.index, rows=rows))
    vars(alike)["audit"] = replace(phantom_dataset.audit, cues=cues)
    text = words_of(write_overview(alike, tmp_path, synthetic=True))
    assert {f.stem for f in tmp_path.glob("*.png")} == FIGURES - {"shapes", "resizing", "file-cues"}
    assert text.count("data:image/png;base64,") == len(FIGURES) - 3
    assert f"<p>Every file is {side} x {side} pixels" in text
    assert "<p>The files have the size of the network&#39;s input: nothing is resized.</p>" in text


def test_table_of_file_cues_gives_the_direction_once_and_the_aucs_of_the_text():
    nan = float("nan")
    cues = [
        Cue(Split.TRAIN, "sharpness", Estimate(0.7, 0.6, 0.8), "normal", {"normal": 71, "pneumonia": 48.5}),
        Cue(Split.TRAIN, "width", Estimate(nan, nan, nan), "", {"normal": 224, "pneumonia": 224}),
        Cue(Split.TEST, "sharpness", Estimate(0.3, 0.2, 0.4), "normal", {"normal": 50, "pneumonia": 60}),
        Cue(Split.TEST, "width", Estimate(nan, nan, nan), "", {"normal": 224, "pneumonia": nan}),
    ]
    header, rows = cue_table(cues)
    assert header[:4] == ["property", "higher in", "AUC in train (95 % interval)", "AUC in test (95 % interval)"]
    assert rows == [
        ["sharpness", "normal", "0.700 (0.600-0.800)", "0.300 (0.200-0.400)", "71, 48", "50, 60"],
        ["width", "–", "–", "–", "224, 224", "224, –"],
    ]
