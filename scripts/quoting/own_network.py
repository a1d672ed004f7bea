"""Block of the tutorial: a small network validated in several ways, and its stress test."""

from quoting.formatting import interval, table
from quoting.results import Blocks, read, source

_WAYS = {
    "image": "by image: ordinary validation",
    "patient": "by patient",
    "cluster": "by patient and acquisition cluster",
}


def own_network() -> str:
    """Table of the validations, and the verdict."""
    record = read("experiments/train_your_own.json")
    stress = record["stress"]
    rows = [
        [f"held out {way}", f"{found['images']:,}", str(found["shared_patients"]), interval(found["auc"])]
        for way, found in ((words, record["validation"][by]) for by, words in _WAYS.items())
    ]
    within = [
        "of the last, within clusters, normals with geometry and storage of pneumonias",
        str(stress["images"]),
        "0",
        f"**{interval(stress['within_clusters'])}**",
    ]
    header = ["", "images", "patients also in training", "AUC (95 % interval)"]
    note = f"{record['films']:,} images of {record['side']} pixels, the first of {record['folds']} folds, one seed. {source(record)}"
    return f"{table(header, [*rows, within], note)}\n\n> {stress['verdict']}"


BLOCKS: Blocks = {"own-network": own_network}
