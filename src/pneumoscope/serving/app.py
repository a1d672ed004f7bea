"""The service: routes, each a few lines around the detector."""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Match
from starlette.types import ASGIApp

from pneumoscope import __version__
from pneumoscope.bundle import Bundle, find_bundle
from pneumoscope.errors import InputError, UnreadableImage
from pneumoscope.files import as_json
from pneumoscope.inference.detector import NamedImage
from pneumoscope.inference.measured import measured
from pneumoscope.serving import schemas
from pneumoscope.serving.edge import Edge
from pneumoscope.serving.history import History
from pneumoscope.serving.judging import Judging
from pneumoscope.serving.keys import load_keys
from pneumoscope.serving.monitoring import Monitoring
from pneumoscope.serving.problems import PROBLEM_JSON, Problem, ProblemError
from pneumoscope.serving.settings import Settings
from pneumoscope.serving.uploads import FORM_TYPE, IMAGE_TYPES, Uploads
from pneumoscope.serving.work import Draw, Judge, Levels, Question, Show, Task
from pneumoscope.types import NOTICE, Decision, Prediction

_log = logging.getLogger("pneumoscope.serving")
_PAGE = FilePath(str(files("pneumoscope.serving").joinpath("page")))
_NOT_ALLOWED = 405
_STATUS = {404: Problem.NOT_FOUND, _NOT_ALLOWED: Problem.METHOD_NOT_ALLOWED}
_LARGEST_ID = 2**63 - 1

Name = Annotated[str, Query(alias="file", description="A name to be told with the answer.", max_length=500)]
Point = Annotated[str, Query(description="A name in the bundle.", max_length=100, examples=["balanced"])]
Prevalence = Annotated[
    float | None, Query(description="Share of pneumonia to show probabilities for.", gt=0, lt=1, examples=[0.1])
]


def create_app(settings: Settings) -> ASGIApp:
    """The application, to be run by an ASGI server.

    Raises:
        PneumoscopeError: The bundle, the file of keys or the history is not as expected.
    """
    bundle = find_bundle(settings.bundle)
    keys = load_keys(settings.keys) if settings.keys else {}
    history = History(settings.history) if settings.history else None
    judging = Judging(settings.bundle, settings.workers, settings.queue, settings.judge_seconds)
    monitoring = Monitoring(bundle, settings.request_log)
    service = _Service(bundle, judging, monitoring, history, Uploads(settings))

    @asynccontextmanager
    async def alive(app: FastAPI) -> AsyncIterator[None]:
        await judging.start()
        yield
        await judging.stop()
        if history:
            history.close()

    app = FastAPI(
        title="pneumoscope",
        version=__version__,
        description=f"Pneumonia in chest X-rays of children. **{NOTICE}**",
        openapi_url="/v1/openapi.json",
        docs_url=None,  # its page would come from elsewhere
        redoc_url=None,
        lifespan=alive,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    _complete_schema(app, bundle)
    _answer_problems(app)
    _add_judging(app, service)
    _add_knowledge(app, service)
    _add_history(app, service)
    _add_page(app)
    guarded: ASGIApp = app
    if settings.origins:
        guarded = CORSMiddleware(
            app,
            allow_origins=settings.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
        )
    return Edge(guarded, settings, keys, monitoring)


class _Service:
    """What the routes share."""

    def __init__(
        self, bundle: Bundle, judging: Judging, monitoring: Monitoring, history: History | None, uploads: Uploads
    ) -> None:
        self.bundle, self.judging, self.monitoring = bundle, judging, monitoring
        self.history, self.uploads = history, uploads

    def question(self, operating_point: str, prevalence: float | None, evidence: bool = False) -> Question:
        """Checked before a body is read."""
        try:
            self.bundle.manifest.at(operating_point, prevalence)
        except InputError as error:
            raise ProblemError(Problem.UNKNOWN_OPERATING_POINT, str(error)) from error
        return Question(operating_point, prevalence, evidence)

    async def judge(self, request: Request, images: Sequence[NamedImage], question: Question) -> list[Prediction]:
        """Asks, and takes note."""
        answers = await self.judging.ask([Judge(image, question) for image in images])
        predictions = [answer for answer in answers if isinstance(answer, Prediction)]
        request.state.predictions += predictions
        self.monitoring.judged(predictions)
        if self.history:
            try:
                await asyncio.to_thread(self.history.add, predictions)
            except sqlite3.Error:  # a full disk keeps nothing, and hinders nobody
                _log.exception("request %s could not be kept in the history", request.state.request_id)
        return predictions

    async def draw(self, task: Task) -> Any:
        """One answer that is no prediction."""
        [answer] = await self.judging.ask([task])
        if isinstance(answer, UnreadableImage):
            raise ProblemError(Problem.UNREADABLE, str(answer))
        return answer


def _add_judging(app: FastAPI, service: _Service) -> None:
    problems = _problems(
        Problem.INVALID_REQUEST, Problem.UNSUPPORTED_MEDIA_TYPE, Problem.TOO_LARGE, Problem.UPLOAD_TIMEOUT, Problem.BUSY
    )

    @app.post(
        "/v1/predict",
        tags=["judging"],
        summary="Judge one image",
        response_model=schemas.JudgedSchema,
        openapi_extra=_image_body(),
        responses=problems,
    )
    async def predict(
        request: Request,
        file: Name = "",
        operating_point: Point = "balanced",
        prevalence: Prevalence = None,
        evidence: Annotated[bool, Query(description="Whether to give the evidence map.")] = False,
    ) -> Response:
        question = service.question(operating_point, prevalence, evidence)
        service.judging.check_room()
        image = await service.uploads.image(request, file)
        [prediction] = await service.judge(request, [image], question)
        return _json(_told(prediction, evidence))

    @app.post(
        "/v1/predict/batch",
        tags=["judging"],
        summary="Judge several images",
        response_model=list[schemas.PredictionSchema],
        openapi_extra=_form_body(),
        responses=problems | _problems(Problem.BAD_REQUEST),
    )
    async def predict_batch(
        request: Request, operating_point: Point = "balanced", prevalence: Prevalence = None
    ) -> Response:
        question = service.question(operating_point, prevalence)
        service.judging.check_room()
        images = await service.uploads.images(request)
        return _json([_told(prediction, False) for prediction in await service.judge(request, images, question)])

    @app.post(
        "/v1/evidence",
        tags=["judging"],
        summary="Draw where the answer comes from",
        response_class=Response,
        openapi_extra=_image_body(),
        responses=problems | {200: {"content": {"image/png": {}}, "description": "At the film's own size."}},
    )
    async def evidence(
        request: Request,
        alone: Annotated[bool, Query(description="The evidence on a transparent ground, without the film.")] = False,
    ) -> Response:
        service.judging.check_room()
        image = await service.uploads.image(request, "")
        drawn = await service.draw(Draw(image, Question(), alone))
        return Response(drawn, media_type="image/png")

    @app.post(
        "/v1/film",
        tags=["judging"],
        summary="Decode a film",
        response_class=Response,
        openapi_extra=_image_body(),
        responses=problems
        | {
            200: {
                "content": {"application/octet-stream": {}},
                "description": "Grey levels as the detector reads them, row by row from the top left, 8 or 16 bits, little "
                "endian; a DICOM object with its window applied, bright for bone.",
                "headers": {
                    name: {"schema": {"type": "integer"}, "description": told}
                    for name, told in (("Film-Height", "Pixels."), ("Film-Width", "Pixels."), ("Film-Bits", "8 or 16."))
                },
            }
        },
    )
    async def film(request: Request) -> Response:
        service.judging.check_room()
        levels: Levels = await service.draw(Show(await service.uploads.image(request, "")))
        size = {"Film-Height": str(levels.height), "Film-Width": str(levels.width), "Film-Bits": str(levels.bits)}
        return Response(levels.content, media_type="application/octet-stream", headers=size)


def _add_knowledge(app: FastAPI, service: _Service) -> None:
    bundle, judging, monitoring = service.bundle, service.judging, service.monitoring
    manifest = as_json(asdict(bundle.manifest) | {"sha256": bundle.sha256})
    known = as_json(measured(bundle))
    reference = bundle.manifest.reference

    @app.get("/v1/bundle", tags=["knowledge"], summary="The bundle that judges: its manifest")
    async def bundle_told() -> Response:
        return Response(manifest, media_type="application/json")

    @app.get("/v1/performance", tags=["knowledge"], summary="How good it is, as measured")
    async def performance() -> Response:
        return Response(known, media_type="application/json")

    @app.get("/v1/drift", tags=["knowledge"], summary="Have the films changed?", response_model=schemas.DriftSchema)
    async def drift() -> Response:
        told = asdict(monitoring.drift.report())
        for name, histogram in reference.histograms.items() if reference else ():
            told["statistics"][name] |= {"reference": list(histogram.share), "edges": list(histogram.edges)}
        return _json(told)

    @app.get("/v1/health", tags=["operation"], summary="Is it alive?", response_model=schemas.HealthSchema)
    async def health() -> Response:
        return _json({"status": "alive", "images_accepted": judging.accepted})

    @app.get(
        "/v1/ready",
        tags=["operation"],
        summary="Would it take an image now?",
        response_model=schemas.HealthSchema,
        responses={503: {"model": schemas.HealthSchema}},
    )
    async def ready() -> Response:
        told = {"status": "ready" if judging.is_ready else "not ready", "images_accepted": judging.accepted}
        return JSONResponse(told, 200 if judging.is_ready else 503)

    @app.get(
        "/metrics",
        tags=["operation"],
        summary="For Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}},
    )
    async def metrics() -> Response:
        content = monitoring.metrics(judging.accepted, judging.replaced)
        return Response(content, media_type="text/plain; version=0.0.4")

    @app.get(
        "/v1/problems",
        tags=["knowledge"],
        summary="Everything that can go wrong",
        response_model=list[schemas.ProblemKindSchema],
    )
    async def problems() -> Response:
        return _json([_kind(problem) for problem in Problem])

    @app.get(
        "/v1/problems/{code}",
        tags=["knowledge"],
        summary="One of these",
        response_model=schemas.ProblemKindSchema,
        responses=_problems(Problem.INVALID_REQUEST, Problem.NOT_FOUND),
    )
    async def problem(code: Annotated[str, Path(examples=["too_large"])]) -> Response:
        for each in Problem:
            if each.code == code:
                return _json(_kind(each))
        raise ProblemError(Problem.NOT_FOUND)


def _add_history(app: FastAPI, service: _Service) -> None:
    problems = _problems(Problem.INVALID_REQUEST, Problem.HISTORY_OFF)

    def kept() -> History:
        if service.history is None:
            raise ProblemError(Problem.HISTORY_OFF)
        return service.history

    @app.get(
        "/v1/history",
        tags=["history"],
        summary="Search what was decided, the newest first",
        response_model=schemas.HistorySchema,
        responses=problems,
    )
    async def search(
        text: Annotated[
            str, Query(description="Part of the file's name, or the beginning of its hash.", max_length=500)
        ] = "",
        decision: Annotated[Decision | None, Query()] = None,
        before: Annotated[int | None, Query(description="Entries with a smaller id.", ge=0, le=_LARGEST_ID)] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> Response:
        entries = await asyncio.to_thread(kept().search, text, decision or "", before, limit)
        return _json({"entries": [asdict(entry) for entry in entries]})

    @app.delete(
        "/v1/history",
        tags=["history"],
        summary="Delete everything that was kept",
        response_model=schemas.DeletedSchema,
        responses=problems,
    )
    async def delete_all() -> Response:
        return _json({"deleted": await asyncio.to_thread(kept().delete)})

    @app.delete(
        "/v1/history/{number}",
        tags=["history"],
        summary="Delete one entry",
        response_model=schemas.DeletedSchema,
        responses=problems | _problems(Problem.NOT_FOUND),
    )
    async def delete(number: Annotated[int, Path(ge=0, le=_LARGEST_ID)]) -> Response:
        if not (deleted := await asyncio.to_thread(kept().delete, number)):
            raise ProblemError(Problem.NOT_FOUND, f"expected an entry {number} in the history, found none")
        return _json({"deleted": deleted})


def _add_page(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return FileResponse(_PAGE / "index.html", headers={"Cache-Control": "no-cache"})

    app.mount("/page", StaticFiles(directory=_PAGE), name="page")


def _complete_schema(app: FastAPI, bundle: Bundle) -> None:
    """Adds what only the bundle knows, and the schema of problems, which the routes refer to."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        told = plain()
        told["components"]["schemas"]["ProblemSchema"] = schemas.ProblemSchema.model_json_schema()
        for path in told["paths"].values():
            for operation in path.values():
                for parameter in operation.get("parameters", ()):
                    if parameter["name"] == "operating_point":
                        parameter["schema"]["enum"] = list(bundle.manifest.operating_points)
        return told

    app.openapi = openapi  # type: ignore[method-assign]


def _answer_problems(app: FastAPI) -> None:
    @app.exception_handler(ProblemError)
    async def problem(request: Request, error: ProblemError) -> Response:
        return error.response(request.state.request_id)

    @app.exception_handler(HTTPException)
    async def of_http(request: Request, error: HTTPException) -> Response:
        headers = dict(error.headers or {})
        if error.status_code == _NOT_ALLOWED:
            # Each route knows its own methods alone, and a path may have several.
            headers["Allow"] = ", ".join(sorted(_methods(app, request)))
        told = ProblemError(_STATUS.get(error.status_code, Problem.BAD_REQUEST), headers=headers)
        return told.response(request.state.request_id)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        errors = [{"where": ".".join(map(str, each["loc"])), "found": each["msg"]} for each in error.errors()]
        detail = "; ".join(f"{each['where']}: {each['found']}" for each in errors)
        return ProblemError(Problem.INVALID_REQUEST, detail, errors=errors).response(request.state.request_id)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        return ProblemError(Problem.INTERNAL).response(request.state.request_id)


def _methods(app: FastAPI, request: Request) -> set[str]:
    """What can be done at a request's path."""
    scope = dict(request.scope)
    return {
        method
        for route in app.routes
        if route.matches(scope)[0] is not Match.NONE
        for method in getattr(route, "methods", None) or ()
    }


def _told(prediction: Prediction, evidence: bool) -> dict[str, Any]:
    told = prediction.as_json()
    if evidence:
        found = prediction.evidence_map
        frame = prediction.frame
        told["evidence_map"] = None if found is None or frame is None else {"map": found.tolist(), "frame": list(frame)}
    return told


def _kind(problem: Problem) -> dict[str, Any]:
    return {"type": f"/v1/problems/{problem.code}", **asdict(problem.value)}


def _json(value: Any) -> JSONResponse:
    return JSONResponse(value)


def _problems(*kinds: Problem) -> dict[int | str, dict[str, Any]]:
    """For the OpenAPI schema; every route may also answer these that the edge gives."""
    told: dict[int, list[str]] = {}
    for problem in (*kinds, Problem.UNAUTHORISED, Problem.UNKNOWN_HOST):
        told.setdefault(problem.value.status, []).append(f"`{problem.code}`: {problem.value.title}.")
    return {
        status: {
            "description": " ".join(words),
            "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/ProblemSchema"}}},
        }
        for status, words in told.items()
    }


def _image_body() -> dict[str, Any]:
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {"requestBody": {"required": True, "content": dict.fromkeys(IMAGE_TYPES, binary)}}


def _form_body() -> dict[str, Any]:
    one = {"type": "string", "format": "binary"}
    form = {
        "type": "object",
        "required": ["files"],
        "properties": {"files": {"type": "array", "items": one, "minItems": 1}},
    }
    return {"requestBody": {"required": True, "content": {FORM_TYPE: {"schema": form}}}}
