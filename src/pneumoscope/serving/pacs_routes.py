"""Routes of a PACS: search its studies, open their images, and send answers to it."""

import hashlib
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import TypeAdapter

from pneumoscope.serving import schemas
from pneumoscope.serving.openapi import json_body, problem_responses
from pneumoscope.serving.problems import Problem, ProblemError
from pneumoscope.serving.routes import BODY_PROBLEMS, Name, Point
from pneumoscope.serving.service import Service
from pneumoscope.serving.studies import Studies, Wanted
from pneumoscope.serving.tasks import MadeAnswers, MakeAnswers
from pneumoscope.serving.uploads import JSON_TYPE, parsed
from pneumoscope.types import NamedImage

_UID = r"^[0-9]+(\.[0-9]+)*$"
_LONGEST_UID = 64
StudyUid = Annotated[str, Path(description="Study Instance UID.", pattern=_UID, max_length=_LONGEST_UID)]
SeriesUid = Annotated[str, Path(description="Series Instance UID.", pattern=_UID, max_length=_LONGEST_UID)]
InstanceUid = Annotated[str, Path(description="SOP Instance UID.", pattern=_UID, max_length=_LONGEST_UID)]
_PROBLEMS = (Problem.PACS_OFF, Problem.PACS_FAILED)
_INSTANCE = "/v1/pacs/studies/{study}/series/{series}/instances/{instance}"
# Studies in a list: more are not read through, but searched more narrowly.
_MOST_STUDIES = 100
_WANTED: TypeAdapter[Any] = TypeAdapter(schemas.WantedSchema)


def add_pacs(app: FastAPI, service: Service) -> None:
    """Routes that read from a PACS, and the one that writes to it."""
    _add_reading(app, service)
    _add_sending(app, service)


def _studies(service: Service) -> Studies:
    if service.studies is None:
        raise ProblemError(Problem.PACS_OFF)
    return service.studies


def _add_reading(app: FastAPI, service: Service) -> None:
    @app.get(
        "/v1/pacs",
        tags=["pacs"],
        summary="What can be done with the PACS",
        response_model=schemas.PacsSchema,
        responses=problem_responses(Problem.PACS_OFF),
    )
    async def pacs() -> Response:
        found = _studies(service)
        return JSONResponse({"writable": found.writable, "answers": found.kinds})

    # A name of a patient has no place in an address, which others on the way log.
    @app.post(
        "/v1/pacs/search",
        tags=["pacs"],
        summary="Search studies with radiographs, the newest first",
        response_model=schemas.StudiesSchema,
        openapi_extra=json_body("WantedSchema"),
        responses=problem_responses(*BODY_PROBLEMS, *_PROBLEMS),
    )
    async def search(request: Request) -> Response:
        known = _studies(service)
        wanted = Wanted(**parsed(_WANTED, await service.uploads.text(request, JSON_TYPE)).model_dump())
        if not any(each.strip() for each in asdict(wanted).values()):
            raise ProblemError(
                Problem.INVALID_REQUEST, "expected something to search for, found nothing: name a patient or a date"
            )
        studies, more = await known.search(wanted, _MOST_STUDIES)
        return JSONResponse({"studies": [asdict(study) for study in studies], "more": more})

    @app.get(
        "/v1/pacs/studies/{study}",
        tags=["pacs"],
        summary="Radiographs of a study, and the last ones of the patient's earlier studies",
        response_model=schemas.StudyImagesSchema,
        responses=problem_responses(*_PROBLEMS, Problem.INVALID_REQUEST, Problem.NOT_FOUND),
    )
    async def images(study: StudyUid) -> Response:
        return JSONResponse({"images": [asdict(image) for image in await _studies(service).images(study)]})

    @app.get(
        _INSTANCE,
        tags=["pacs"],
        summary="File of a radiograph",
        response_class=Response,
        responses=problem_responses(*_PROBLEMS, Problem.INVALID_REQUEST, Problem.NOT_FOUND)
        | {200: {"content": {"application/dicom": {}}}},
    )
    async def image(study: StudyUid, series: SeriesUid, instance: InstanceUid) -> Response:
        content = await _studies(service).retrieve(study, series, instance)
        return Response(content, media_type="application/dicom")


def _add_sending(app: FastAPI, service: Service) -> None:
    kinds = (
        *(Problem.INVALID_REQUEST, Problem.NOT_FOUND, Problem.CROSS_ORIGIN, Problem.UNKNOWN_OPERATING_POINT),
        *(Problem.PACS_CONFLICT, Problem.PACS_READ_ONLY, Problem.UNREADABLE, Problem.HISTORY_UNAVAILABLE, Problem.BUSY),
    )

    @app.post(
        f"{_INSTANCE}/answers",
        tags=["pacs"],
        summary="Predict a radiograph, and send the answers to its study; once, however often it is asked for",
        response_model=schemas.SentSchema,
        responses=problem_responses(*_PROBLEMS, *kinds),
    )
    async def send(
        request: Request,
        study: StudyUid,
        series: SeriesUid,
        instance: InstanceUid,
        sha256: Annotated[str, Query(description="SHA-256 of the file that was confirmed.", pattern="^[0-9a-f]{64}$")],
        bundle: Annotated[
            str, Query(description="SHA-256 of the bundle whose prediction was confirmed.", pattern="^[0-9a-f]{64}$")
        ],
        file: Name = "",
        operating_point: Point = "balanced",
    ) -> Response:
        studies = _studies(service)
        if not studies.writable:
            raise ProblemError(Problem.PACS_READ_ONLY)
        with service.in_use() as served:
            settings = service.request(served, operating_point, None)
            served.queue.check_room()
            content = await studies.retrieve(study, series, instance)
            for name, confirmed, found in (
                ("image", sha256, hashlib.sha256(content).hexdigest()),
                ("bundle", bundle, served.bundle.sha256),
            ):
                if confirmed != found:
                    raise ProblemError(
                        Problem.PACS_CONFLICT, f"expected the {name} {confirmed[:12]}, found {found[:12]}"
                    )
            image, made = NamedImage(file, content), datetime.now().astimezone()
            task = MakeAnswers([image], settings, studies.kinds, studies.station, made)
            answers: MadeAnswers
            [answers] = await served.queue.results(task)
            await service.record(request, served, [answers.prediction], [image])
        if answers.error:
            raise ProblemError(Problem.UNREADABLE, answers.error)
        new = await studies.store(answers.files)
        time = datetime.now(UTC).isoformat(timespec="seconds")
        return JSONResponse({"time": time, "answers": list(answers.files), "new": new})
