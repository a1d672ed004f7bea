"""A model through a battery: each trial's answers are stored as soon as they are there, so that what is interrupted goes on."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import pneumoscope
from pneumoscope.errors import DataError, InputError, RunError
from pneumoscope.evaluation.intervals import auc_estimate
from pneumoscope.files import atomic_write, write_json
from pneumoscope.progress import Progress, ignored
from pneumoscope.stress.battery import UNALTERED, Trial
from pneumoscope.stress.radiographs import Pixels, Radiographs

Floats = NDArray[np.float64]
Predict = Callable[[Pixels], NDArray[np.floating]]
"""Model: (n, side, side) uint8 images to (n,) probabilities of the positive class, in [0, 1]."""

# Answers of each trial, by its name.
Answers = dict[str, Floats]

_BATCH = 64
# Images of the very first batch: a slow model is known by them.
_FIRST = 2
_STATE = "state.json"
# AUC below which the classes of a model are exchanged, if it is below a half by more than chance.
_EXCHANGED = 0.3
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
) -> Answers:
    """Show all trials to a model.

    Args:
        predict: Model.
        radiographs: Labelled radiographs.
        trials: Trials; the first is the unaltered radiographs.
        folder: Folder in which the answers to each trial are stored, and from which those of an interrupted run are read; None for none.
        model: Identity of the model, such as its hash: answers of another are not mixed with its own.
        hours: Time that the whole may take.
        progress: Callback with the number of images done and their total.

    Returns:
        Name of each trial to its (n,) float64 probabilities.

    Raises:
        InputError: The model gives no probabilities, or has the classes exchanged.
        RunError: The model raises an error, or would take longer than `hours`.
        DataError: The folder has answers of another model or of other radiographs.
    """
    if folder is not None:
        _check_state(folder, {"model": model, "radiographs": radiographs.sha256, "version": pneumoscope.__version__})
    chosen = {trial.name: trial.positions(radiographs) for trial in trials}
    total = sum(map(len, chosen.values()))
    answers: Answers = {}
    done, clock = 0, _Clock(hours)
    for trial in trials:
        positions, path = chosen[trial.name], _path(folder, trial)
        found = _stored(path, len(positions))
        if found is None:
            parts: list[Floats] = []
            for images in _batches(trial, radiographs, positions, first=not answers):
                begun = time.perf_counter()
                parts.append(ask(predict, images, trial.name))
                clock.add(time.perf_counter() - begun, len(images), total)
                progress(done + sum(map(len, parts)), total)
            found = np.concatenate(parts)
            if path is not None:
                _store(path, found)
        else:
            progress(done + len(found), total)
        answers[trial.name] = found
        done += len(found)
        if trial.name == UNALTERED:
            _check_direction(found, radiographs)
    return answers


def ask(predict: Predict, images: Pixels, name: str = UNALTERED) -> Floats:
    """Probabilities that a model gives for images.

    Raises:
        InputError: Something else than one probability in [0, 1] for each.
        RunError: The model raises an error.
    """
    try:
        found = np.asarray(predict(images))
    except Exception as error:
        words = str(error).splitlines()[0] if str(error) else "no explanation"
        raise RunError(
            f"expected probabilities for {images.shape} uint8 images ({name}), found that the model fails "
            f"({type(error).__name__}: {words}): mend it and run again, which goes on from here"
        ) from error
    if found.shape == (len(images), 1):
        found = found[:, 0]
    if found.shape != (len(images),) or found.dtype.kind not in "fiub":
        raise InputError(
            f"expected ({len(images)},) probabilities for {images.shape} images, found {found.shape} {found.dtype}: "
            "return one number for each, the probability of the positive class"
        )
    answers = np.asarray(found, dtype=np.float64)
    if not np.isfinite(answers).all():
        raise InputError(
            f"expected probabilities, found {int((~np.isfinite(answers)).sum())} NaN or infinite ones ({name}): mend the model"
        )
    if len(answers) and (answers.min() < 0 or answers.max() > 1):
        raise InputError(
            f"expected probabilities in [0, 1], found {answers.min():.4g} to {answers.max():.4g} ({name}): apply the sigmoid or softmax to logits"
        )
    return answers


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
    """Answers that are stored; None where there are none, or not so many."""
    try:
        found = None if path is None else np.load(path, allow_pickle=False)
    except (OSError, ValueError):
        return None
    return found if found is not None and found.shape == (count,) else None


def _store(path: Path, answers: Floats) -> None:
    with atomic_write(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, answers)


def _check_state(folder: Path, state: dict[str, str]) -> None:
    """Check that a folder has answers of this model on these radiographs, or none; note whose it has from now on."""
    try:
        found = json.loads((folder / _STATE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        write_json(folder / _STATE, state)
        return
    except (OSError, ValueError) as error:
        raise DataError(
            f"expected answers of a model in {folder}, found {_STATE} damaged: name another folder"
        ) from error
    if found != state:
        differing = ", ".join(key for key in state if found.get(key) != state[key])
        raise DataError(
            f"expected answers of this model on these radiographs in {folder}, found another {differing}: name another folder"
        )


def _check_direction(probability: Floats, radiographs: Radiographs) -> None:
    """Check that positives have the higher probabilities, where the model tells the classes at all."""
    auc = auc_estimate(probability, radiographs.positive, radiographs.patients)
    if auc.value < _EXCHANGED and auc.high < 0.5:
        raise InputError(
            f"expected higher probabilities for the positive class, found lower ones (AUC {auc.value:.3f}): exchange the classes of the model"
        )
