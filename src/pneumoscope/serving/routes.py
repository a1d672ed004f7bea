"""Routes of the service, each a few lines around the queue."""

import asyncio
import json
from dataclasses import asdict
from functools import cache
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from PIL import Image

from pneumoscope.data.patients import origin_of
from pneumoscope.inference.overlay import as_png
from pneumoscope.inference.prediction import Prediction
from pneumoscope.serving import schemas
from pneumoscope.serving.history import History, Step
from pneumoscope.serving.openapi import form_body, image_body, problem_responses
from pneumoscope.serving.problems import Problem, ProblemError
from pneumoscope.serving.service import Service
from pneumoscope.serving.tasks import DecodeImages, DrawEvidence, DrawnEvidence, GreyLevels
from pneumoscope.types import Decision, ImageHeader

_LARGEST_ID = 2**63 - 1

Name = Annotated[str, Query(alias="file", description="Name to be returned with the prediction.", max_length=500)]
Point = Annotated[str, Query(description="A name in the bundle.", max_length=100, examples=["balanced"])]
Prevalence = Annotated[
    float | None, Query(description="Share of pneumonia to show probabilities for.", gt=0, lt=1, examples=[0.1])
]


# Problems of every route that takes a body, such as images.
BODY_PROBLEMS = (
    Problem.INVALID_REQUEST,
    Problem.UNSUPPORTED_MEDIA_TYPE,
    Problem.TOO_LARGE,
    Problem.UPLOAD_TIMEOUT,
    Problem.BUSY,
    Problem.CROSS_ORIGIN,
)
_LEVELS = {
    "content": {"application/octet-stream": {}},
    "description": "Grey levels as the detector reads them, row by row from the top left, 8 or 16 bits, little "
    "endian; a DICOM object with its window applied, bright for bone.",
    "headers": {
        name: {"schema": {"type": "integer"}, "description": description}
        for name, description in (("Film-Height", "Pixels."), ("Film-Width", "Pixels."), ("Film-Bits", "8 or 16."))
    }
    | {
        "Film-Header": {
            "schema": {"type": "string"},
            "description": "Header of a DICOM object, a JSON object in ASCII of what is known of: `age_years`, `view`, `body_part`, "
            "`modality`, `sex`, `taken` (ISO 8601), `manufacturer`, `bits` (stored), `spacing` (of rows and of columns, mm), "
            "`at_detector` (whether `spacing` is that at the detector), `window` (centre and width, as in the header). No name and no "
            "identifier of the patient. Absent for other files.",
        }
    },
}


_PREDICTED = {
    "headers": {
        "Film-Patient": {
            "schema": {"type": "string", "pattern": "^([0-9a-f]{16})?(,([0-9a-f]{16})?)*$"},
            "description": "Key of the patient, from the identifier and its issuer in the header of a DICOM object, or from a file name of "
            "the Guangzhou data set; absent where neither is known. Of several images their keys in order, with commas between.",
        },
        "Film-Date": {
            "schema": {"type": "string", "pattern": r"^(\d{4}-\d\d-\d\d)?(,(\d{4}-\d\d-\d\d)?)*$"},
            "description": "Date of the acquisition or study in the header of a DICOM object; absent where it is not known. Of several "
            "images their dates in order, with commas between.",
        },
    }
}
_DRAWN = {
    "content": {"image/png": {}},
    "description": "At the film's own size.",
    "headers": {
        "Lung-Zones": {
            "schema": {"type": "string"},
            "description": "Fractions of the evidence for pneumonia by lung zone, a JSON object; absent where the lungs could not be placed.",
        }
    },
}


def add_predictions(app: FastAPI, service: Service) -> None:
    """Routes that take images and give decisions."""
    kinds = (*BODY_PROBLEMS, Problem.HISTORY_UNAVAILABLE)

    @app.post(
        "/v1/predict",
        tags=["prediction"],
        summary="Predict one image",
        response_model=schemas.PredictionWithEvidenceSchema,
        openapi_extra=image_body(),
        responses=problem_responses(*kinds) | {200: _PREDICTED},
    )
    async def predict(
        request: Request,
        file: Name = "",
        operating_point: Point = "balanced",
        prevalence: Prevalence = None,
        evidence: Annotated[bool, Query(description="Whether to give the evidence map.")] = False,
    ) -> Response:
        with service.in_use() as served:
            settings = service.request(served, operating_point, prevalence, evidence)
            served.queue.check_room()
            async with service.uploads.image(request, file) as image:
                [prediction] = await service.predict(request, served, [image], settings)
        return JSONResponse(_to_dict(prediction, evidence), headers=_origins([prediction]))

    @app.post(
        "/v1/predict/batch",
        tags=["prediction"],
        summary="Predict several images",
        response_model=schemas.PredictionList,
        openapi_extra=form_body(),
        responses=problem_responses(*kinds, Problem.BAD_REQUEST) | {200: _PREDICTED},
    )
    async def predict_batch(
        request: Request, operating_point: Point = "balanced", prevalence: Prevalence = None
    ) -> Response:
        with service.in_use() as served:
            settings = service.request(served, operating_point, prevalence)
            served.queue.check_room()
            async with service.uploads.images(request) as images:
                predictions = await service.predict(request, served, images, settings)
        content = [_to_dict(prediction, False) for prediction in predictions]
        return JSONResponse(content, headers=_origins(predictions))


def add_drawing(app: FastAPI, service: Service) -> None:
    """Routes that take an image and give its evidence or its grey levels."""
    problems = problem_responses(*BODY_PROBLEMS)

    @app.post(
        "/v1/evidence",
        tags=["prediction"],
        summary="Draw the evidence map",
        response_class=Response,
        openapi_extra=image_body(),
        responses=problems | {200: _DRAWN},
    )
    async def evidence(
        request: Request,
        alone: Annotated[bool, Query(description="The evidence on a transparent ground, without the film.")] = False,
    ) -> Response:
        with service.in_use() as served:
            served.queue.check_room()
            async with service.uploads.image(request, "") as image:
                drawn: DrawnEvidence = await service.result(served, DrawEvidence([image], alone))
        headers = {"Lung-Zones": json.dumps(drawn.zones)} if drawn.zones else {}
        return Response(drawn.picture, media_type="image/png", headers=headers)

    @app.post(
        "/v1/film",
        tags=["prediction"],
        summary="Decode a film",
        response_class=Response,
        openapi_extra=image_body(),
        responses=problems | {200: _LEVELS},
    )
    async def film(request: Request) -> Response:
        with service.in_use() as served:
            served.queue.check_room()
            async with service.uploads.image(request, "") as image:
                levels: GreyLevels = await service.result(served, DecodeImages([image]))
        size = {"Film-Height": str(levels.height), "Film-Width": str(levels.width), "Film-Bits": str(levels.bits)}
        header = {"Film-Header": _to_json(levels.header)} if levels.header else {}
        return Response(levels.content, media_type="application/octet-stream", headers=size | header)

    @app.get(
        "/v1/sample",
        tags=["prediction"],
        summary="Draw a sample film: a phantom, no radiograph of a child",
        response_class=Response,
        responses={200: {"content": {"image/png": {}}}},
    )
    async def sample() -> Response:
        return Response(await asyncio.to_thread(_sample), media_type="image/png")


def add_information(app: FastAPI, service: Service) -> None:
    """Routes that describe the bundle, its measured performance, and drift."""

    @app.get("/v1/bundle", tags=["bundle"], summary="Manifest of the bundle in use")
    async def bundle_as_json() -> Response:
        return Response(service.served.manifest, media_type="application/json")

    @app.get("/v1/performance", tags=["bundle"], summary="How good it is, as measured")
    async def performance() -> Response:
        return Response(service.served.performance, media_type="application/json")

    @app.get("/v1/drift", tags=["bundle"], summary="Have the films changed?", response_model=schemas.DriftSchema)
    async def drift() -> Response:
        served = service.served
        record, reference = asdict(served.drift.report()), served.bundle.manifest.reference
        for name, histogram in reference.histograms.items() if reference else ():
            record["statistics"][name] |= {"reference": list(histogram.share), "edges": list(histogram.edges)}
        return JSONResponse(record)


def add_operation(app: FastAPI, service: Service) -> None:
    """Routes for who runs the service: health and metrics."""

    @app.get("/v1/health", tags=["operation"], summary="Is it alive?", response_model=schemas.HealthSchema)
    async def health() -> Response:
        return JSONResponse({"status": "alive", "images_accepted": service.accepted})

    @app.get(
        "/v1/ready",
        tags=["operation"],
        summary="Would it take an image now?",
        response_model=schemas.HealthSchema,
        responses={503: {"model": schemas.HealthSchema}},
    )
    async def ready() -> Response:
        is_ready = service.served.queue.is_ready
        state = {"status": "ready" if is_ready else "not ready", "images_accepted": service.accepted}
        return JSONResponse(state, 200 if is_ready else 503)

    @app.get(
        "/metrics",
        tags=["operation"],
        summary="For Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}},
    )
    async def metrics() -> Response:
        drift = service.served.drift.report()
        node = await asyncio.to_thread(service.node.counts) if service.node else None
        content = service.monitoring.metrics(service.accepted, service.uploads.held, service.replaced, drift, node)
        return Response(content, media_type="text/plain; version=0.0.4")


def add_problems(app: FastAPI, service: Service) -> None:
    """Routes that describe what can go wrong."""

    @app.get(
        "/v1/problems",
        tags=["bundle"],
        summary="Everything that can go wrong",
        response_model=schemas.ProblemKindList,
    )
    async def problems() -> Response:
        return JSONResponse([_kind(problem) for problem in Problem])

    @app.get(
        "/v1/problems/{code}",
        tags=["bundle"],
        summary="One of these",
        response_model=schemas.ProblemKindSchema,
        responses=problem_responses(Problem.INVALID_REQUEST, Problem.NOT_FOUND),
    )
    async def problem(code: Annotated[str, Path(examples=["too_large"])]) -> Response:
        for each in Problem:
            if each.code == code:
                return JSONResponse(_kind(each))
        raise ProblemError(Problem.NOT_FOUND)


def add_history(app: FastAPI, service: Service) -> None:
    """Routes that search and delete what was decided."""
    kinds = (Problem.INVALID_REQUEST, Problem.HISTORY_OFF, Problem.HISTORY_UNAVAILABLE)
    changing = (*kinds, Problem.CROSS_ORIGIN)

    def kept() -> History:
        if service.history is None:
            raise ProblemError(Problem.HISTORY_OFF)
        return service.history

    @app.get(
        "/v1/history",
        tags=["history"],
        summary="Search what was decided, the newest first",
        response_model=schemas.HistorySchema,
        responses=problem_responses(*kinds),
    )
    async def search(
        text: Annotated[
            str, Query(description="Part of the file's name, or the beginning of its hash.", max_length=500)
        ] = "",
        decision: Annotated[
            Decision | None, Query(description="For a site's own classes: by the class it stands for.")
        ] = None,
        before: Annotated[int | None, Query(description="Entries with a smaller id.", ge=0, le=_LARGEST_ID)] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> Response:
        named = service.served.bundle.manifest.scheme.outcome(decision) if decision else ""
        entries = await kept().search(text, named, before, limit)
        return JSONResponse({"entries": [asdict(entry) for entry in entries]})

    @app.get(
        "/v1/history/timeline",
        tags=["history"],
        summary="Count what was decided, by hour or day",
        response_model=schemas.TimelineSchema,
        responses=problem_responses(*kinds),
    )
    async def timeline(
        step: Annotated[Step, Query(description="Length of a period; days of UTC.")] = Step.DAY,
        periods: Annotated[int, Query(description="Number of periods up to now.", ge=1, le=1000)] = 30,
    ) -> Response:
        return JSONResponse({"periods": [asdict(period) for period in await kept().timeline(step, periods)]})

    @app.delete(
        "/v1/history",
        tags=["history"],
        summary="Delete everything that was kept",
        response_model=schemas.DeletedSchema,
        responses=problem_responses(*changing),
    )
    async def delete_all() -> Response:
        return JSONResponse({"deleted": await service.forget()})

    @app.delete(
        "/v1/history/{number}",
        tags=["history"],
        summary="Delete one entry",
        response_model=schemas.DeletedSchema,
        responses=problem_responses(*changing, Problem.NOT_FOUND),
    )
    async def delete(number: Annotated[int, Path(ge=0, le=_LARGEST_ID)]) -> Response:
        if not (deleted := await service.forget(number)):
            raise ProblemError(Problem.NOT_FOUND, f"expected an entry {number} in the history, found none")
        return JSONResponse({"deleted": deleted})


def _to_dict(prediction: Prediction, evidence: bool) -> dict[str, Any]:
    record = prediction.to_dict()
    if evidence:
        found = prediction.evidence_map
        frame = prediction.frame
        record["evidence_map"] = (
            None if found is None or frame is None else {"map": found.tolist(), "frame": list(frame)}
        )
    return record


@cache
def _sample() -> bytes:
    from pneumoscope.data.phantom import phantom_image

    return as_png(Image.fromarray(phantom_image("bacteria", np.random.default_rng(0), height=768)))


def _origins(predictions: list[Prediction]) -> dict[str, str]:
    """Whose images they are and of which day, as response headers; both are of use beside other images alone."""
    keys, dates = zip(*(origin_of(prediction.file, prediction.header) for prediction in predictions), strict=True)
    return {name: ",".join(found) for name, found in (("Film-Patient", keys), ("Film-Date", dates)) if any(found)}


def _to_json(header: ImageHeader) -> str:
    """What is known from a header, in ASCII; texts in it are short, and the patient's key is left out."""
    known = {name: value for name, value in asdict(header).items() if value not in ("", None) and name != "patient"}
    return json.dumps(known)


def _kind(problem: Problem) -> dict[str, Any]:
    return {"type": f"/v1/problems/{problem.code}", **asdict(problem.value)}
