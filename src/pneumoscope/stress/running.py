"""A model through a battery: each trial's predictions are stored as soon as they are there, so that what is interrupted goes on.

They lie in a folder named after the model, the radiographs and the version, FOLDER/<12 hexadecimal digits>/TRIAL.npy: where one of
these changes, all trials are run again beside what there was.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import pneumoscope
from pneumoscope.errors import InputError, RunError
from pneumoscope.evaluation.intervals import auc_estimate
from pneumoscope.files import atomic_write, write_json
from pneumoscope.progress import Progress, ignored
from pneumoscope.stress.battery import UNALTERED, Trial
from pneumoscope.stress.radiographs import Pixels, Radiographs

Floats = NDArray[np.float64]
Predict = Callable[[Pixels], NDArray[np.floating]]
"""Model: (n, side, side) uint8 images to (n,) probabilities of the positive class, in [0, 1]."""

# Predictions of each trial, by its name.
Predictions = dict[str, Floats]

_BATCH = 64
# Images of the very first batch: a slow model is known by them.
_FIRST = 2
# Images by which a model is known again, but for the least certain one.
_COMPARED = 12
_STATE = "state.json"
# AUC below which the classes of a model are exchanged, if it is below a half by more than chance.
_EXCHANGED = 0.3
# Difference of two probabilities of one model for one image, as by other batches.
_SAME = 1e-3
HOURS = 1.0
# Time after which a rate is believed: a first batch may load the model.
_SHORTEST_MEASURED = 5.0


def run_battery(
    predict: Predict,
    radiographs: Radiographs,
    trials: Sequence[Trial],
    folder: Path | None = None,
    model: str = "",
    hours: float = HOURS,
    progress: Progress = ignored,
) -> Predictions:
    """Show all trials to a model.

    Args:
        predict: Model.
        radiographs: Labelled radiographs.
        trials: Trials; the first is the unaltered radiographs.
        folder: Folder below which the predictions to each trial are stored, and from which those of an interrupted run are read; None for none.
        model: Identity of the model, such as its hash: predictions of another are not mixed with its own.
        hours: Time that the model may take for all images that are still to be shown.
        progress: Callback with the number of images done and their total.

    Returns:
        Name of each trial to its (n,) float64 probabilities.

    Raises:
        InputError: The model gives no probabilities, or has the classes exchanged.
        RunError: The model raises an error, or would take longer than `hours`.
    """
    if folder is not None:
        folder = _folder_of(
            folder, {"model": model, "radiographs": radiographs.sha256, "version": pneumoscope.__version__}
        )
    chosen = {trial.name: trial.positions(radiographs) for trial in trials}
    stored = {trial.name: _stored(_path(folder, trial), len(chosen[trial.name])) for trial in trials}
    if folder is not None and not _is_same_model(predict, radiographs, stored[trials[0].name]):
        _delete_all(folder)
        stored = dict.fromkeys(stored)
    total = sum(map(len, chosen.values()))
    left = sum(len(chosen[name]) for name, found in stored.items() if found is None)
    predictions: Predictions = {}
    done, clock = 0, _Clock(hours)
    for trial in trials:
        positions, path, found = chosen[trial.name], _path(folder, trial), stored[trial.name]
        if found is None:
            parts: list[Floats] = []
            for images in _batches(trial, radiographs, positions, first=not predictions):
                begun = time.perf_counter()
                parts.append(predict_checked(predict, images, trial.name))
                clock.add(time.perf_counter() - begun, len(images), left)
                progress(done + sum(map(len, parts)), total)
            found = np.concatenate(parts)
            if path is not None:
                _store(path, found)
        else:
            progress(done + len(found), total)
        predictions[trial.name] = found
        done += len(found)
        if trial.name == UNALTERED:
            _check_direction(found, radiographs)
    return predictions


def predict_checked(predict: Predict, images: Pixels, name: str = UNALTERED) -> Floats:
    """Probabilities that a model gives for images.

    Raises:
        InputError: Something else than one probability in [0, 1] for each.
        RunError: The model raises an error.
    """
    try:
        found = np.asarray(predict(images))
    except Exception as error:
        raise RunError(
            f"expected probabilities for {images.shape} uint8 images ({name}), found that the model fails "
            f"({in_words(error)}): mend it and run again, which goes on from here"
        ) from error
    if found.shape == (len(images), 1):
        found = found[:, 0]
    if found.shape != (len(images),) or found.dtype.kind not in "fiub":
        raise InputError(
            f"expected ({len(images)},) probabilities for {images.shape} images, found {found.shape} {found.dtype}: "
            "return one number for each, the probability of the positive class"
        )
    predictions = np.asarray(found, dtype=np.float64)
    if not np.isfinite(predictions).all():
        raise InputError(
            f"expected probabilities, found {int((~np.isfinite(predictions)).sum())} NaN or infinite ones ({name}): mend the model"
        )
    if len(predictions) and (predictions.min() < 0 or predictions.max() > 1):
        raise InputError(
            f"expected probabilities in [0, 1], found {predictions.min():.4g} to {predictions.max():.4g} ({name}): apply the sigmoid or softmax to logits"
        )
    return predictions


def in_words(error: Exception) -> str:
    """Kind of an error and the first line of its message."""
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no explanation'}"


class _Clock:
    """Time that the model takes, against what it may take."""

    def __init__(self, hours: float) -> None:
        self.hours = hours
        self.seconds, self.images = 0.0, 0

    def add(self, seconds: float, images: int, total: int) -> None:
        """Count the time of a batch.

        Raises:
            RunError: At this rate the whole takes longer than it may.
        """
        self.seconds, self.images = self.seconds + seconds, self.images + images
        each = self.seconds / self.images
        if each * total > 3600 * self.hours and self.seconds > _SHORTEST_MEASURED:
            raise RunError(
                f"expected all of {total:,} images within {self.hours:g} h, found {each:.2g} s an image, which takes "
                f"{each * total / 3600:.1f} h: allow more (hours), or give fewer images"
            )


def _batches(trial: Trial, radiographs: Radiographs, positions: NDArray[np.int64], first: bool) -> Iterator[Pixels]:
    """Images of a trial by batches; while one is with the model the next is made."""
    starts = [0, *range(_FIRST, len(positions), _BATCH)] if first else list(range(0, len(positions), _BATCH))
    parts = [positions[a:b] for a, b in zip(starts, [*starts[1:], len(positions)], strict=True)]

    def make(part: NDArray[np.int64]) -> Pixels:
        return np.stack([trial.image(radiographs, int(each)) for each in part])

    with ThreadPoolExecutor(1) as ahead:
        waiting = ahead.submit(make, parts[0])
        for following in [*parts[1:], None]:
            images = waiting.result()
            if following is not None:
                waiting = ahead.submit(make, following)
            yield images


def _path(folder: Path | None, trial: Trial) -> Path | None:
    return None if folder is None else folder / f"{trial.name.replace(' ', '-')}.npy"


def _stored(path: Path | None, count: int) -> Floats | None:
    """Predictions that are stored; None where there are none, or not so many."""
    try:
        found = None if path is None else np.load(path, allow_pickle=False)
    except (OSError, ValueError):
        return None
    return found if found is not None and found.shape == (count,) else None


def _store(path: Path, predictions: Floats) -> None:
    with atomic_write(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, predictions)


def _folder_of(folder: Path, state: dict[str, str]) -> Path:
    """Folder of the predictions of one model for one set of radiographs, which says in a file whose they are."""
    own = folder / hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()[:12]
    write_json(own / _STATE, state)
    return own


def _is_same_model(predict: Predict, radiographs: Radiographs, before: Floats | None) -> bool:
    """Whether a model gives what it gave before for some images: its weights may lie in a file that its identity does not know.

    Compared are images at even steps from the lowest to the highest probability, and the least certain one: at the ends saturated models are alike.

    Where it gave nothing for the unaltered radiographs, nothing else is known to be its own.
    """
    if before is None:
        return False
    steps = np.linspace(0, len(before) - 1, _COMPARED).round().astype(np.int64)
    telling = np.unique([*np.argsort(before, kind="stable")[steps], np.abs(before - 0.5).argmin()])
    found = predict_checked(predict, radiographs.images[telling])
    return bool(np.abs(found - before[telling]).max() <= _SAME)


def _delete_all(folder: Path) -> None:
    """Delete predictions that are not this model's, all before the first new one: an interruption must not leave both."""
    for path in folder.glob("*.npy"):
        path.unlink(missing_ok=True)


def _check_direction(probability: Floats, radiographs: Radiographs) -> None:
    """Check that positives have the higher probabilities, where the model tells the classes at all."""
    auc = auc_estimate(probability, radiographs.positive, radiographs.patients)
    if auc.value < _EXCHANGED and auc.high < 0.5:
        raise InputError(
            f"expected higher probabilities for the positive class, found lower ones (AUC {auc.value:.3f}): exchange the classes of the model "
            "(positive in its settings, or 1 less the probability in a function), or correct the class map of the images"
        )
