"""Routes of readings: what readers find, kept with the history; and what follows of it for detector and readers."""

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Path, Request, Response
from fastapi.responses import JSONResponse
from pydantic import TypeAdapter

from pneumoscope.assessment.acceptance import is_outside
from pneumoscope.data.source_images import patient_of_path
from pneumoscope.evaluation.acceptance import DecidedImages, measure_acceptance
from pneumoscope.evaluation.agreement import cohen_kappa
from pneumoscope.evaluation.intervals import Estimate
from pneumoscope.serving import schemas
from pneumoscope.serving.kept_images import KeptImages
from pneumoscope.serving.openapi import json_body, problem_responses
from pneumoscope.serving.problems import Problem, ProblemError
from pneumoscope.serving.readings import ReaderFinding, Reading, Readings
from pneumoscope.serving.routes import BODY_PROBLEMS
from pneumoscope.serving.service import Service
from pneumoscope.serving.uploads import JSON_TYPE, parsed

Hash = Annotated[str, Path(description="SHA-256 of the image's file.", pattern="^[0-9a-f]{64}$")]
# Kept images that are listed: a worklist, not an archive.
_MOST_FILMS = 5000
_KEPT = (Problem.INVALID_REQUEST, Problem.HISTORY_OFF, Problem.HISTORY_UNAVAILABLE)
_READINGS: TypeAdapter[list[Any]] = TypeAdapter(schemas.ReadingsIn)
_READ_IMAGES: TypeAdapter[Any] = TypeAdapter(schemas.ReadImagesSchema)


def add_readings(app: FastAPI, service: Service) -> None:
    """Routes of readings and of kept images."""
    _add_kept(app, service)
    _add_measures(app, service)
    _add_films(app, service)


def _add_kept(app: FastAPI, service: Service) -> None:
    def kept() -> Readings:
        if service.history is None:
            raise ProblemError(Problem.HISTORY_OFF)
        return service.history.readings

    @app.get(
        "/v1/readings",
        tags=["readings"],
        summary="Readings, by reader and time",
        response_model=schemas.ReadingListSchema,
        responses=problem_responses(*_KEPT),
    )
    async def readings() -> Response:
        return JSONResponse({"readings": [asdict(reading) for reading in await kept().search()]})

    @app.put(
        "/v1/readings",
        tags=["readings"],
        summary="Keep readings; of two by one reader on one image the later one stays",
        response_model=schemas.KeptSchema,
        openapi_extra=json_body("ReadingSchema", many=True),
        responses=problem_responses(*BODY_PROBLEMS, *_KEPT),
    )
    async def put(request: Request) -> Response:
        keep = kept()
        found = parsed(_READINGS, await service.uploads.text(request, JSON_TYPE))
        await keep.put([Reading(**each.model_dump()) for each in found])
        return JSONResponse({"kept": len(found)})


def _add_measures(app: FastAPI, service: Service) -> None:
    @app.post(
        "/v1/readings/measures",
        tags=["readings"],
        summary="Measure decisions against readings, and the agreement of two readers",
        response_model=schemas.MeasuredReadingsSchema,
        openapi_extra=json_body("ReadImagesSchema"),
        responses=problem_responses(*BODY_PROBLEMS),
    )
    async def measures(request: Request) -> Response:
        found = parsed(_READ_IMAGES, await service.uploads.text(request, JSON_TYPE))
        return JSONResponse(
            await asyncio.to_thread(_measured, found.images, service.accept, service.served.bundle.was_trained_on)
        )


def _add_films(app: FastAPI, service: Service) -> None:
    problems = (Problem.FILMS_OFF, Problem.HISTORY_UNAVAILABLE)

    def kept() -> KeptImages:
        if service.kept_images is None:
            raise ProblemError(Problem.FILMS_OFF)
        return service.kept_images

    @app.get(
        "/v1/films",
        tags=["readings"],
        summary="Kept images, each with the newest decision on it; at most the newest 5,000",
        response_model=schemas.KeptImagesSchema,
        responses=problem_responses(*problems),
    )
    async def films() -> Response:
        found = kept()
        latest = await service.history.latest(_MOST_FILMS) if service.history else {}
        known = [(entry, found.find(sha256)) for sha256, entry in latest.items()]
        return JSONResponse(
            {
                "entries": [
                    asdict(entry) | {"patient": image.patient, "taken": image.taken} for entry, image in known if image
                ]
            }
        )

    @app.get(
        "/v1/films/{sha256}",
        tags=["readings"],
        summary="File of a kept image",
        response_class=Response,
        responses=problem_responses(*problems, Problem.INVALID_REQUEST, Problem.NOT_FOUND)
        | {200: {"content": {"application/octet-stream": {}}}},
    )
    async def film(sha256: Hash) -> Response:
        return Response(await kept().read(sha256), media_type="application/octet-stream")


def _measured(images: list[Any], accept: tuple[str, ...], was_trained_on: Callable[[str], bool]) -> dict[str, Any]:
    """Decisions against what the readers of each image agree on, and the agreement of every two readers.

    The same measures as `pneumoscope evaluate --data` gives for the table of these images.
    """
    learnt = {i for i, image in enumerate(images) if was_trained_on(image.sha256)}
    patients = [image.patient or patient_of_path(image.path)[0] for image in images]
    reference = [_reference(image.findings) for image in images]
    shared = [i for i, found in enumerate(reference) if found in (ReaderFinding.NEGATIVE, ReaderFinding.POSITIVE)]
    labelled = [i for i in shared if i not in learnt]
    decided = DecidedImages(
        np.array(
            [np.nan if images[i].probability is None else images[i].probability for i in labelled], dtype=np.float64
        ),
        np.array([reference[i] is ReaderFinding.POSITIVE for i in labelled], dtype=np.bool_),
        [images[i].decision.value for i in labelled],
        [images[i].reasons for i in labelled],
        np.array([is_outside(images[i], accept) for i in labelled], dtype=np.bool_),
        [patients[i] for i in labelled],
        {},
    )
    measured = measure_acceptance(decided) if labelled else {"flow": {}, "measures": {}}
    return {
        "labelled": len(labelled),
        "learnt": len(shared) - len(labelled),
        "undecided": sum(found is ReaderFinding.UNDECIDED for found in reference),
        "contradictory": sum(found is None for found in reference),
        "flow": measured["flow"],
        "measures": {name: _json(Estimate(**found)) for name, found in measured["measures"].items()},
        "agreement": _agreement(images, patients),
    }


def _reference(findings: dict[str, ReaderFinding]) -> ReaderFinding | None:
    """What all readers of an image find; None where they differ."""
    found = set(findings.values())
    return found.pop() if len(found) == 1 else None


def _agreement(images: list[Any], patients: list[str]) -> list[dict[str, Any]]:
    """Agreement of each pair of readers that have images in common."""
    readers = sorted({reader for image in images for reader in image.findings})
    found = []
    for index, first in enumerate(readers):
        for second in readers[index + 1 :]:
            both = [i for i, image in enumerate(images) if first in image.findings and second in image.findings]
            if not both:
                continue
            one, other = ([images[i].findings[reader].value for i in both] for reader in (first, second))
            same = sum(a == b for a, b in zip(one, other, strict=True))
            kappa = cohen_kappa(one, other, [patients[i] for i in both])
            found.append({"readers": [first, second], "images": len(both), "same": same, "kappa": _json(kappa)})
    return found


def _json(estimate: Estimate) -> dict[str, float | None]:
    """Estimate with null where it is undefined, which JSON has no number for."""
    return {name: value if value == value else None for name, value in asdict(estimate).items()}
