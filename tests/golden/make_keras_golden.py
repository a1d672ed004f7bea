"""Makes keras_golden.json: what tf.keras computes where the tests ask whether ours is the same. Run once, by hand.

python -m venv /tmp/keras && /tmp/keras/bin/pip install tensorflow-cpu tf-keras h5py
PYTHONPATH=tests/golden /tmp/keras/bin/python tests/golden/make_keras_golden.py [inception notop file]
"""

import hashlib
import json
import re
import sys
from pathlib import Path

import numpy as np
import seeded_values
import tensorflow as tf
import tf_keras  # Keras 2, which still has Adam's `decay`

HERE = Path(__file__).parent


def adam() -> list[list[float]]:
    variable = tf.Variable(seeded_values.ADAM_START)
    optimiser = tf_keras.optimizers.legacy.Adam(learning_rate=seeded_values.ADAM_RATE, decay=seeded_values.ADAM_DECAY)
    trace = []
    for gradient in seeded_values.adam_gradients():
        optimiser.apply_gradients([(tf.constant(gradient), variable)])
        trace.append(variable.numpy().astype(float).tolist())
    return trace


def cnn() -> dict:
    layers = tf_keras.layers
    model = tf_keras.Sequential([layers.Input((224, 224, 3))])
    for kernels in (32, 64, 128):
        model.add(layers.Conv2D(kernels, 3, activation="relu"))
        model.add(layers.MaxPooling2D())
    model.add(layers.Flatten())
    model.add(layers.Dense(3))
    model.set_weights(seeded_values.cnn_weights())
    images, labels = seeded_values.images()
    images = np.repeat(images[..., None].astype(np.float32) / 255, 3, axis=3)
    optimiser = tf_keras.optimizers.legacy.Adam(learning_rate=1e-4, decay=1e-5)
    losses = []
    for _ in range(seeded_values.CNN_STEPS):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=model(images, training=True))
            )
        optimiser.apply_gradients(
            zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables, strict=True)
        )
        losses.append(float(loss))
    return {"losses": losses, "logits": model(images).numpy().astype(float).round(6).tolist()}


def early_stopping() -> list[int]:
    """Epochs run for sequences of validation losses."""
    ran = []
    for losses in seeded_values.VALIDATION_LOSSES:
        model = tf_keras.Sequential([tf_keras.layers.Dense(1)])
        stopping = tf_keras.callbacks.EarlyStopping(monitor="val_loss", patience=3)
        stopping.set_model(model)
        model.stop_training = False
        stopping.on_train_begin()
        for epoch, loss in enumerate(losses):
            stopping.on_epoch_end(epoch, {"val_loss": loss})
            if model.stop_training:
                break
        ran.append(epoch + 1)
    return ran


def inception(weight_file: Path | None) -> dict:
    model = tf.keras.applications.InceptionV3(include_top=False, weights=None, input_shape=(224, 224, 3))
    if weight_file is None:
        by_number = {}
        for layer in model.layers:
            match = re.fullmatch(r"(conv2d|batch_normalization)(?:_(\d+))?", layer.name)
            if match:
                by_number[match[1], int(match[2] or 0)] = layer
        numbers = sorted(number for kind, number in by_number if kind == "conv2d")
        shapes = [by_number["conv2d", number].get_weights()[0].shape for number in numbers]
        for number, arrays in zip(numbers, seeded_values.inception_weights(shapes), strict=True):
            by_number["conv2d", number].set_weights([arrays["kernel"]])
            norm = [arrays["beta"], arrays["moving_mean"], arrays["moving_variance"]]
            by_number["batch_normalization", number].set_weights(norm)
    else:
        shapes = []
        model.load_weights(weight_file)
    images, _ = seeded_values.images()
    images = np.repeat(images[:2, ..., None].astype(np.float32) / 255, 3, axis=3)
    maps = model.predict(images, verbose=0)
    return {
        "shape": list(maps.shape),
        "mean": float(maps.mean()),
        "values": maps.ravel()[:: seeded_values.INCEPTION_STRIDE].astype(float).round(6).tolist(),
        "kernel_shapes": [list(shape) for shape in shapes],
    }


def main() -> None:
    golden = {
        "versions": {"tensorflow": tf.__version__, "tf_keras": tf_keras.__version__, "keras": tf.keras.__version__},
        "adam": adam(),
        "cnn": cnn(),
        "early_stopping_epochs": early_stopping(),
        "inception_seeded": inception(None),
    }
    if len(sys.argv) > 1:
        file = Path(sys.argv[1])
        golden["inception_file"] = inception(file) | {"sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    (HERE / "keras_golden.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
