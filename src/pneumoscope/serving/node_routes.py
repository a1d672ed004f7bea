"""Routes of a DICOM node on the same machine: what waits, what was answered, and how fast."""

import asyncio
from dataclasses import asdict

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse

from pneumoscope.serving import schemas
from pneumoscope.serving.openapi import problem_responses
from pneumoscope.serving.problems import Problem, ProblemError
from pneumoscope.serving.service import Service


def add_node(app: FastAPI, service: Service) -> None:
    """Route of the node's queue."""

    @app.get(
        "/v1/node",
        tags=["operation"],
        summary="Queue and last answers of the DICOM node",
        response_model=schemas.NodeSchema,
        responses=problem_responses(Problem.NODE_OFF),
    )
    async def node() -> Response:
        if service.node is None:
            raise ProblemError(Problem.NODE_OFF)
        return JSONResponse(asdict(await asyncio.to_thread(service.node.status)))
