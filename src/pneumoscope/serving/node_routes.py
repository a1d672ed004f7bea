"""Routes of a DICOM node on the same machine: what waits, what was answered, how fast, and how good the answers were."""

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse

from pneumoscope.errors import PneumoscopeError
from pneumoscope.files import as_json
from pneumoscope.serving import schemas
from pneumoscope.serving.openapi import csv_body, problem_responses
from pneumoscope.serving.problems import Problem, ProblemError
from pneumoscope.serving.routes import BODY_PROBLEMS
from pneumoscope.serving.service import Service
from pneumoscope.serving.uploads import CSV_TYPE

if TYPE_CHECKING:
    from pneumoscope.pacs.queue import Queue

ClassMap = Annotated[
    str,
    Query(
        description="Findings of the reports by their words there; lines with others are left out.",
        examples=["Pneumonie=pneumonia,o.B.=normal"],
        max_length=2000,
    ),
]


def add_node(app: FastAPI, service: Service) -> None:
    """Routes of the node's queue, and of its answers beside the radiologists' reports."""

    def watched() -> "Queue":
        if service.node is None:
            raise ProblemError(Problem.NODE_OFF)
        return service.node

    @app.get(
        "/v1/node",
        tags=["operation"],
        summary="Queue and last answers of the DICOM node",
        response_model=schemas.NodeSchema,
        responses=problem_responses(Problem.NODE_OFF),
    )
    async def node() -> Response:
        return JSONResponse(asdict(await asyncio.to_thread(watched().status)))

    # Of many reports a comparison takes seconds and memory: one at a time.
    comparing = asyncio.Lock()

    @app.post(
        "/v1/node/comparison",
        tags=["operation"],
        summary="Compare the DICOM node's answers with the radiologists' reports, of which nothing is kept",
        response_model=schemas.ComparisonSchema,
        openapi_extra=csv_body(),
        responses=problem_responses(
            *BODY_PROBLEMS, Problem.NODE_OFF, Problem.UNUSABLE_REPORTS, Problem.NO_REPORT_MATCHES
        ),
    )
    async def comparison(request: Request, class_map: ClassMap = "") -> Response:
        queue = watched()
        table = await service.uploads.text(request, CSV_TYPE)
        async with comparing:
            content = await asyncio.to_thread(_compared, queue, table, class_map)
        return Response(content, media_type="application/json")


def _compared(queue: "Queue", table: bytes, class_map: str) -> str:
    """JSON of a comparison with a table of reports.

    Raises:
        ProblemError: The table cannot be used, or speaks of no image that was answered.
    """
    from pneumoscope.data.sources import DataNames
    from pneumoscope.pacs.comparison import compare, read_reports
    from pneumoscope.pacs.comparison_page import lead_of

    try:
        reports = read_reports(table, DataNames.of(class_map))
    except PneumoscopeError as error:
        raise ProblemError(Problem.UNUSABLE_REPORTS, str(error)) from error
    result = compare(queue.silent_answers(), reports)
    if not result["compared"]:
        raise ProblemError(Problem.NO_REPORT_MATCHES, lead_of(result))
    return as_json(result)
