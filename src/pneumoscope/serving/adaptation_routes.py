"""Routes that adapt the bundle to labelled images, and switch to what comes of it."""

import asyncio
from dataclasses import asdict
from typing import Annotated

from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse

from pneumoscope.bundle.manifest import CLASS_NAME
from pneumoscope.serving import schemas
from pneumoscope.serving.adaptations import ID_PATTERN, Label
from pneumoscope.serving.openapi import form_body, problem_responses
from pneumoscope.serving.problems import Problem
from pneumoscope.serving.service import Service

# A report is a page of its own: it has its styles in itself, and runs nothing.
_REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox; frame-ancestors 'none'"

Identifier = Annotated[str, Path(description="Id of an adaptation.", pattern=ID_PATTERN)]
# In JSON Schema \w has ASCII characters alone; in Python, which checks the name once more, it has all letters and digits.
_CLASS = {"pattern": "^" + CLASS_NAME.pattern.replace(r"[^\W_]", r"[\p{L}\p{N}]").replace(r"\w", r"\p{L}\p{N}_") + "$"}
Negative = Annotated[str, Query(description="Name of the negative class.", **_CLASS)]
Positive = Annotated[str, Query(description="Name of the positive class.", examples=["effusion"], **_CLASS)]
Named = Annotated[str, Query(description="Name of the new detector.", pattern=r"^[\p{L}\p{N}_ .,'()+-]{1,60}$")]

_OFF = (Problem.INVALID_REQUEST, Problem.ADAPTATIONS_OFF)
_KNOWN = (*_OFF, Problem.NOT_FOUND, Problem.ADAPTATION_CONFLICT)
_UPLOAD = (
    Problem.BAD_REQUEST,
    Problem.UNSUPPORTED_MEDIA_TYPE,
    Problem.TOO_LARGE,
    Problem.TOO_MANY_IMAGES,
    Problem.UPLOAD_TIMEOUT,
    Problem.BUSY,
)


def add_adaptations(app: FastAPI, service: Service) -> None:
    """Routes of adaptations, and the switch of the bundle."""
    _add_making(app, service)
    _add_results(app, service)
    _add_switch(app, service)


def _add_making(app: FastAPI, service: Service) -> None:
    @app.post(
        "/v1/adaptations",
        tags=["adaptation"],
        summary="Begin an adaptation, which then collects images",
        status_code=201,
        response_model=schemas.AdaptationSchema,
        responses=problem_responses(*_OFF, Problem.ADAPTATION_CONFLICT, Problem.ADAPTATION_FULL, Problem.CROSS_ORIGIN),
    )
    async def begin(negative: Negative = "normal", positive: Positive = "pneumonia", name: Named = "site") -> Response:
        record = await asyncio.to_thread(service.adaptations.begin, (negative, positive), name)
        return JSONResponse(asdict(record), 201)

    @app.post(
        "/v1/adaptations/{identifier}/images",
        tags=["adaptation"],
        summary="Add images of one class; repeat it until all are there",
        response_model=schemas.AdaptationSchema,
        openapi_extra=form_body(),
        responses=problem_responses(*_KNOWN, *_UPLOAD, Problem.ADAPTATION_FULL, Problem.CROSS_ORIGIN),
    )
    async def add_images(
        request: Request, identifier: Identifier, label: Annotated[Label, Query(description="Class of the images.")]
    ) -> Response:
        service.adaptations.record(identifier)
        async with service.uploads.images(request) as images:
            record = await asyncio.to_thread(service.adaptations.add, identifier, label, images)
        return JSONResponse(asdict(record))

    @app.post(
        "/v1/adaptations/{identifier}/start",
        tags=["adaptation"],
        summary="Start it with the images that it has",
        status_code=202,
        response_model=schemas.AdaptationSchema,
        responses=problem_responses(*_KNOWN, Problem.ADAPTATION_FULL, Problem.CROSS_ORIGIN),
    )
    async def start(identifier: Identifier) -> Response:
        return JSONResponse(asdict(await asyncio.to_thread(service.adaptations.start, identifier)), 202)

    @app.delete(
        "/v1/adaptations/{identifier}",
        tags=["adaptation"],
        summary="Cancel it, and delete all of it",
        response_model=schemas.DeletedSchema,
        responses=problem_responses(*_KNOWN, Problem.CROSS_ORIGIN),
    )
    async def delete(identifier: Identifier) -> Response:
        await service.delete_adaptation(identifier)
        return JSONResponse({"deleted": 1})


def _add_results(app: FastAPI, service: Service) -> None:
    @app.get(
        "/v1/adaptations",
        tags=["adaptation"],
        summary="All adaptations, the newest first, and their limits",
        response_model=schemas.AdaptationListSchema,
        responses=problem_responses(Problem.ADAPTATIONS_OFF),
    )
    async def adaptations() -> Response:
        found = service.adaptations
        records = [asdict(record) for record in found.records()]
        return JSONResponse({"adaptations": records, "limits": asdict(found.limits)})

    @app.get(
        "/v1/adaptations/{identifier}",
        tags=["adaptation"],
        summary="Progress and result of one",
        response_model=schemas.AdaptationSchema,
        responses=problem_responses(*_OFF, Problem.NOT_FOUND),
    )
    async def adaptation(identifier: Identifier) -> Response:
        return JSONResponse(asdict(service.adaptations.record(identifier)))

    @app.get(
        "/v1/adaptations/{identifier}/report",
        tags=["adaptation"],
        summary="Report on one",
        response_class=Response,
        responses=problem_responses(*_KNOWN) | {200: {"content": {"text/html": {}}, "description": "A page."}},
    )
    async def report(identifier: Identifier) -> Response:
        headers = {"Content-Security-Policy": _REPORT_POLICY}
        return FileResponse(service.adaptations.report(identifier), media_type="text/html", headers=headers)

    @app.get(
        "/v1/adaptations/{identifier}/bundle",
        tags=["adaptation"],
        summary="New bundle of one, for `--bundle`",
        response_class=Response,
        responses=problem_responses(*_KNOWN) | {200: {"content": {"application/zip": {}}, "description": "A bundle."}},
    )
    async def new_bundle(identifier: Identifier) -> Response:
        file = service.adaptations.bundle_file(identifier)
        return FileResponse(file, media_type="application/zip", filename=f"{identifier}.zip")


def _add_switch(app: FastAPI, service: Service) -> None:
    @app.put(
        "/v1/bundle",
        tags=["adaptation"],
        summary="Predict with the bundle of an adaptation, or with the first one again",
        responses=problem_responses(*_KNOWN, Problem.CROSS_ORIGIN),
    )
    async def switch(
        adaptation: Annotated[
            str,
            Query(
                description="Id of an adaptation; empty for the bundle that the service was started with.",
                pattern=f"{ID_PATTERN}|^$",
            ),
        ] = "",
    ) -> Response:
        served = await service.switch(adaptation)
        return Response(served.manifest, media_type="application/json")
