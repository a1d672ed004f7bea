"""One model through the battery in an environment of its own: battery_side.py FOLDER MODEL; also makes the Keras files.

FOLDER has radiographs.npz, and weights.npz of the network; MODEL.json and MODEL.npz, its figures and predictions, come out.
"""

import json
import sys
from pathlib import Path

import numpy as np

from pneumoscope.stress import Radiographs, stress_test
from pneumoscope.stress.models import open_model

# Radiographs for each corruption and strength.
CORRUPTED = 4


def write_keras(folder):
    """The network with the weights of `weights.npz` as a .keras and as an .h5 file."""
    import keras

    weights = np.load(folder / "weights.npz")
    layers = keras.layers
    network = keras.Sequential(
        [
            layers.Input((48, 64, 3)),
            layers.Conv2D(8, 3, strides=2, activation="relu"),
            layers.Conv2D(16, 3, strides=2, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    # Keras has kernels as height, width, in, out; PyTorch as out, in, height, width.
    network.set_weights(
        [
            *(weights[f"{number}.{part}"].transpose(2, 3, 1, 0) if part == "weight" else weights[f"{number}.{part}"]
              for number in (0, 2) for part in ("weight", "bias")),
            weights["6.weight"].T,
            weights["6.bias"],
        ]
    )  # fmt: skip
    for suffix in (".keras", ".h5"):
        network.save(folder / f"network{suffix}")


def main():
    folder = Path(sys.argv[1])
    model = sys.argv[2]
    if model.endswith(".keras"):
        write_keras(folder)
    saved = np.load(folder / "radiographs.npz")
    radiographs = Radiographs(saved["images"], saved["positive"], saved["patients"].tolist(), saved["names"].tolist())
    with open_model(model if ":" in model else str(folder / model), trust=True) as opened:
        test = stress_test(opened.predict, radiographs, threshold=opened.threshold, corrupted=CORRUPTED)
    name = model.replace(":", "-")
    np.savez(folder / f"{name}.npz", **test.predictions)
    (folder / f"{name}.json").write_text(json.dumps(test.to_dict()))


if __name__ == "__main__":
    main()
