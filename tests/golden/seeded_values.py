"""Inputs of the comparison with tf.keras: made from seeds, so that only the answers need to be kept."""

from collections.abc import Iterator, Sequence

import numpy as np

ADAM_START = np.array([0.5, -1.0, 2.0], dtype=np.float32)
ADAM_RATE = 0.05
ADAM_DECAY = 0.3
CNN_STEPS = 4
INCEPTION_STRIDE = 397
VALIDATION_LOSSES = [
    [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4],
    [1.0, 1.1, 1.2, 1.3, 0.1],
    [1.0, 0.9, 0.95, 0.95, 0.89, 0.9, 0.9, 0.9, 0.1],
    [0.5, 0.5, 0.5, 0.5, 0.4],
]


def adam_gradients() -> np.ndarray:
    """Eight steps; some gradients are tiny, so that the place of epsilon shows."""
    rng = np.random.default_rng(1)
    gradients = rng.normal(size=(8, 3)).astype(np.float32)
    gradients[:, 1] *= 1e-7
    return gradients


def images() -> tuple[np.ndarray, np.ndarray]:
    """Six images (224, 224) uint8 and their classes."""
    rng = np.random.default_rng(2)
    coarse = rng.integers(0, 256, size=(6, 14, 14)).astype(np.uint8)
    return coarse.repeat(16, axis=1).repeat(16, axis=2), np.array([0, 1, 2, 0, 1, 2])


def cnn_weights() -> list[np.ndarray]:
    """Model 2 in Keras' shapes: kernel and bias of each layer."""
    rng = np.random.default_rng(3)
    weights: list[np.ndarray] = []
    for shape in ((3, 3, 3, 32), (3, 3, 32, 64), (3, 3, 64, 128), (86528, 3)):
        fan_in, fan_out = int(np.prod(shape[:-1])), shape[-1] * (9 if len(shape) == 4 else 1)
        limit = np.sqrt(6 / (fan_in + fan_out))
        weights.append(rng.uniform(-limit, limit, shape).astype(np.float32))
        weights.append(rng.normal(0, 0.02, shape[-1]).astype(np.float32))
    return weights


def inception_weights(kernel_shapes: Sequence[Sequence[int]]) -> Iterator[dict[str, np.ndarray]]:
    """Kernel and normalisation of each convolution, in Keras' order of creation."""
    rng = np.random.default_rng(4)
    for shape in kernel_shapes:
        channels = shape[-1]
        kernel = rng.standard_normal(tuple(shape), dtype=np.float32)
        yield {
            "kernel": kernel * np.float32(np.sqrt(2 / np.prod(shape[:-1]))),
            "beta": (0.1 * rng.standard_normal(channels)).astype(np.float32),
            "moving_mean": (0.1 * rng.standard_normal(channels)).astype(np.float32),
            "moving_variance": rng.uniform(0.5, 1.5, channels).astype(np.float32),
        }
