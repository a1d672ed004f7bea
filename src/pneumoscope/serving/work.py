"""What a judging process does: it holds a detector, and answers for the bytes that it is handed."""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from pneumoscope.data.reading import read_grey
from pneumoscope.errors import UnreadableImage
from pneumoscope.inference.detector import Detector, load_detector
from pneumoscope.inference.overlay import as_png, layer, overlay
from pneumoscope.types import NamedImage, Prediction, Unread

GAVE_UP = "its decoding ended the process or took too long"


@dataclass(frozen=True)
class Question:
    """How images are to be judged; the same as `Detector.predict` takes."""

    operating_point: str = "balanced"
    prevalence: float | None = None
    evidence: bool = False


@dataclass(frozen=True)
class Judge:
    """Gives a `Prediction`."""

    image: NamedImage
    question: Question


@dataclass(frozen=True)
class Draw:
    """Gives the evidence as a PNG file: over the film, or its layer alone; UnreadableImage where there is none."""

    image: NamedImage
    question: Question
    alone: bool


@dataclass(frozen=True)
class Show:
    """Gives the film's grey levels as `Levels`; UnreadableImage where there is no film."""

    image: NamedImage


Task = Judge | Draw | Show


@dataclass(frozen=True)
class Levels:
    """A film's grey levels.

    Attributes:
        height: Pixels.
        width: Pixels.
        bits: 8 or 16.
        content: Row by row, little endian.
    """

    height: int
    width: int
    bits: int
    content: bytes


Answer = Prediction | bytes | Levels | UnreadableImage

# Of a judging process.
_detector: Detector | None = None


def prepare(bundle: str) -> None:
    """Loads the detector."""
    global _detector
    # What a caller sends does not write into the service's log.
    warnings.simplefilter("ignore")
    _detector = load_detector(bundle, threads=1)


def ready() -> int:
    """The process' id, once it can judge."""
    return os.getpid()


def work(tasks: Sequence[Task]) -> list[Answer]:
    """An answer for each task; images asked about alike go through the network together."""
    answers: list[Answer] = []
    for question, alike in groupby(tasks, lambda task: task.question if isinstance(task, Judge) else None):
        if question is None:
            answers += [_draw_or_show(task) for task in alike]
        else:
            images = [task.image for task in alike]
            answers += _get().predict_many(images, question.operating_point, question.prevalence, question.evidence)
    return answers


def refuse(task: Task) -> Answer:
    """The answer for an image that ends the process that decodes it."""
    if isinstance(task, Judge):
        unread = Unread(task.image.name, GAVE_UP)
        return _get().predict(unread, task.question.operating_point, task.question.prevalence)
    return UnreadableImage(f"expected a whole image, found one that cannot be decoded ({GAVE_UP}): replace it")


def _draw_or_show(task: Task) -> Answer:
    try:
        film = read_grey(Path(task.image.name or "the bytes given"), task.image.content)
        height, width = film.shape
        if not isinstance(task, Draw):
            ordered = np.ascontiguousarray(film, film.dtype.newbyteorder("<"))
            return Levels(height, width, film.itemsize * 8, ordered.tobytes())
        question = task.question
        told = _get().predict(task.image, question.operating_point, question.prevalence, evidence=True)
        if told.evidence_map is None or told.frame is None:
            return UnreadableImage(told.detail)
        if task.alone:
            return as_png(layer(told.evidence_map, told.frame, height, width))
        return as_png(overlay(film, told.evidence_map, told.frame))
    except UnreadableImage as error:
        return error


def _get() -> Detector:
    if _detector is None:
        raise AssertionError("a process without a detector")
    return _detector
