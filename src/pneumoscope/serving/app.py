"""Application: routes and page, inside the outermost layer."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Match
from starlette.types import ASGIApp

from pneumoscope import __version__
from pneumoscope.bundle import find_bundle
from pneumoscope.serving.adaptation_routes import add_adaptations
from pneumoscope.serving.edge import PAGES, Edge
from pneumoscope.serving.keys import load_keys
from pneumoscope.serving.node_routes import add_node
from pneumoscope.serving.openapi import complete_schema, problem_responses
from pneumoscope.serving.pacs_routes import add_pacs
from pneumoscope.serving.parameters import KnownParameters
from pneumoscope.serving.problems import Problem, ProblemError
from pneumoscope.serving.reading_routes import add_readings
from pneumoscope.serving.routes import (
    add_drawing,
    add_history,
    add_information,
    add_operation,
    add_predictions,
    add_problems,
)
from pneumoscope.serving.service import Service, history_unavailable
from pneumoscope.serving.settings import Settings
from pneumoscope.serving.sqlite_file import HistoryLockedError

_PAGE = Path(str(files("pneumoscope.serving").joinpath("page")))
_NOT_ALLOWED = 405
_STATUS = {404: Problem.NOT_FOUND, _NOT_ALLOWED: Problem.METHOD_NOT_ALLOWED}


def create_app(settings: Settings) -> ASGIApp:
    """Application for an ASGI server.

    Raises:
        PneumoscopeError: The bundle, the file of keys or the history is not as expected.
    """
    bundle = find_bundle(settings.bundle)
    keys = load_keys(settings.keys) if settings.keys else {}
    service = Service(settings, bundle)
    app = FastAPI(
        title="pneumoscope",
        version=__version__,
        openapi_url="/v1/openapi.json",
        docs_url=None,  # that page would load from another host; /docs is one of our own
        redoc_url=None,
        lifespan=_lifespan(service),
        responses=problem_responses(),
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    complete_schema(app, lambda: service.served.bundle)
    _answer_problems(app)
    for add in (
        add_predictions,
        add_drawing,
        add_information,
        add_operation,
        add_problems,
        add_history,
        add_readings,
        add_adaptations,
        add_node,
        add_pacs,
    ):
        add(app, service)
    _add_page(app)
    guarded: ASGIApp = KnownParameters(app)
    if settings.origins:
        guarded = CORSMiddleware(
            guarded,
            allow_origins=settings.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
        )
    return Edge(guarded, settings, keys, service.monitoring)


def _lifespan(service: Service) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def alive(app: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.stop()

    return alive


def _add_page(app: FastAPI) -> None:
    async def page(request: Request) -> Response:
        return FileResponse(_PAGE / PAGES[request.url.path], headers={"Cache-Control": "no-cache"})

    for path in PAGES:
        app.get(path, include_in_schema=False)(page)
    app.mount("/page", StaticFiles(directory=_PAGE), name="page")


def _answer_problems(app: FastAPI) -> None:
    @app.exception_handler(ProblemError)
    async def known_problem(request: Request, error: ProblemError) -> Response:
        return error.response(request.state.request_id)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        headers = dict(error.headers or {})
        if error.status_code == _NOT_ALLOWED:
            # Each route knows its own methods alone, and a path may have several.
            headers["Allow"] = ", ".join(sorted(_methods(app, request)))
        problem = ProblemError(_STATUS.get(error.status_code, Problem.BAD_REQUEST), headers=headers)
        return problem.response(request.state.request_id)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        errors = [{"where": ".".join(map(str, each["loc"])), "found": _in_words(each)} for each in error.errors()]
        detail = "; ".join(f"{each['where']}: {each['found']}" for each in errors)
        return ProblemError(Problem.INVALID_REQUEST, detail, errors=errors).response(request.state.request_id)

    @app.exception_handler(HistoryLockedError)
    async def locked(request: Request, error: HistoryLockedError) -> Response:
        return history_unavailable(str(error)).response(request.state.request_id)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        return ProblemError(Problem.INTERNAL).response(request.state.request_id)


def _in_words(error: Mapping[str, Any]) -> str:
    """What is wrong with a parameter; a pattern is for programs, which find it in /v1/openapi.json."""
    if error["type"] != "string_pattern_mismatch":
        return str(error["msg"])
    return f"expected another form, as /v1/openapi.json describes it, found {str(error['input'])[:60]!r}"


def _methods(app: FastAPI, request: Request) -> set[str]:
    """HTTP methods that a request's path allows."""
    scope = dict(request.scope)
    return {
        method
        for route in app.routes
        if route.matches(scope)[0] is not Match.NONE
        for method in getattr(route, "methods", None) or ()
    }
