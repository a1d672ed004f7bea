"""The figures of docs/tutorial/own-network.md: its PyTorch network on the published radiographs; writes JSON.

.venv/bin/python experiments/train_your_own.py [--stressed 360] [--out FILE]
"""

import argparse
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np

from pneumoscope.data import load
from pneumoscope.evaluation.intervals import auc_estimate
from pneumoscope.files import write_json
from pneumoscope.provenance import provenance
from pneumoscope.stress import Radiographs, stress_test

PAGE = Path(__file__).resolve().parents[1] / "docs" / "tutorial" / "own-network.md"


def training_of_the_page():
    """The page's `train`, as it stands there."""
    block = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1]
    names = {}
    exec(block.partition('films = load("our-films"')[0], names)  # noqa: S102
    return names["train"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stressed", type=int, default=360, help="held-out radiographs for the stress test")
    parser.add_argument("--out", type=Path, default=Path("results/experiments/train_your_own.json"))
    options = parser.parse_args()
    train, films, auc = training_of_the_page(), load(side=96), {}
    for by in ("image", "patient", "cluster"):
        training, held_out = films.folds(by, 3)[0]
        predict = train(films, training)
        shared = np.intersect1d(films.patients[training], films.patients[held_out])
        found = auc_estimate(predict(films.images[held_out]), films.positive[held_out], films.patients[held_out])
        auc[by] = {"auc": asdict(found), "images": len(held_out), "shared_patients": len(shared)}
        print(by, auc[by], flush=True)
    shown = Radiographs.of(films, held_out).sample(options.stressed)
    test = stress_test(predict, Radiographs.of(films, held_out[shown]), model="my network", corrupted=0)
    measures = test.measures
    stress = {
        "images": len(shown),
        "auc": asdict(measures.plain.auc),
        "within_clusters": asdict(measures.within),
        "reliance": {name: asdict(each) for name, each in measures.reliance.items()},
        "verdict": test.verdict.sentences[0],
    }
    facts = {"films": len(films), "side": 96, "folds": 3, "fold": 0, "validation": auc, "stress": stress}
    write_json(options.out, facts | provenance("experiments/train_your_own.py"))
    print(options.out)


if __name__ == "__main__":
    main()
