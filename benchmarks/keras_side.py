"""The slides' stack: arrays in memory, tf.keras layers, model.fit, Inception's base run in every epoch.

python keras_side.py FILMS.npz PLAN [FOLDER]

PLAN: name:epochs,name:epochs,...; prints JSON. FOLDER keeps every model as NAME.keras, with the NAME.toml that
`pneumoscope stress` reads.
"""

import sys
import time
from pathlib import Path

STARTED = time.perf_counter()

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from side_report import print_report  # noqa: E402

layers = tf.keras.layers
BATCH = {"cnn_2_classes": 32, "cnn_3_classes": 64, "inception_v3": 64, "stacked_cnn": 32}


SETTINGS = """height = 224
width = 224
channels = 3
channels_last = true
classes = {classes}
"""


def convolutions(kernels):
    blocks = []
    for count in kernels:
        blocks += [layers.Conv2D(count, 3, activation="relu"), layers.MaxPooling2D()]
    return blocks


def build(name, base):
    flip = [layers.Input((224, 224, 3)), layers.RandomFlip("horizontal")]
    if name.startswith("cnn_"):
        classes = int(name[4])
        return tf.keras.Sequential(
            [*flip, *convolutions((32, 64, 128)), layers.Flatten(), layers.Dense(classes, activation="softmax")]
        )
    if name == "inception_v3":
        frozen = tf.keras.applications.InceptionV3(include_top=False, weights=None, input_shape=(224, 224, 3))
        frozen.trainable = False
        dense = [layers.Dense(256, activation="relu"), layers.Dense(128, activation="relu")]
        return tf.keras.Sequential([*flip, frozen, layers.Flatten(), *dense, layers.Dense(3, activation="softmax")])
    frozen = tf.keras.Sequential(
        base.layers[1:7] if base else [layers.Input((224, 224, 3)), *convolutions((32, 64, 128))]
    )
    frozen.trainable = False
    head = [*convolutions((32, 64, 128)), layers.Flatten(), layers.Dense(3, activation="softmax")]
    return tf.keras.Sequential([*flip, frozen, *head])


class Clock(tf.keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.seconds = []
        self.first_step = None

    def on_epoch_begin(self, epoch, logs=None):
        self.began = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        if self.first_step is None:
            self.first_step = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(time.perf_counter() - self.began)


def main():
    images = np.load(sys.argv[1])
    plan = [item.split(":") for item in sys.argv[2].split(",")]
    kept = Path(sys.argv[3]) if len(sys.argv) > 3 else None

    def array(split):
        grey = images[f"{split}_films"].astype(np.float32) / 255
        return np.repeat(grey[..., None], 3, axis=3)

    train, validation = array("train"), array("validation")
    records, trained, first_step = {}, None, None
    for name, epochs in plan:
        classes = 2 if name == "cnn_2_classes" else 3
        key = "finding" if classes == 2 else "label"
        hot = [np.eye(classes)[images[f"{split}_{key}"]] for split in ("train", "validation")]
        began = time.perf_counter()
        model = build(name, trained)
        rate = tf.keras.optimizers.schedules.InverseTimeDecay(1e-4, 1, 1e-5)
        model.compile(
            loss="categorical_crossentropy",
            optimizer=tf.keras.optimizers.Adam(learning_rate=rate),
            metrics=["accuracy"],
        )
        clock = Clock()
        model.fit(
            train, hot[0], BATCH[name], int(epochs), validation_data=(validation, hot[1]), shuffle=True,
            callbacks=[clock], verbose=0,
        )  # fmt: skip
        first_step = first_step or clock.first_step
        trained = model if name == "cnn_3_classes" else trained
        if kept:
            kept.mkdir(parents=True, exist_ok=True)
            model.save(kept / f"{name}.keras")
            names = ["normal", "pneumonia"] if classes == 2 else ["normal", "bacterial", "virus"]
            (kept / f"{name}.toml").write_text(SETTINGS.format(classes=names))
        records[name] = {"seconds_per_epoch": clock.seconds, "seconds": time.perf_counter() - began}
    print_report(records, STARTED, first_step, {"tensorflow": tf.__version__, "keras": tf.keras.__version__})


main()
