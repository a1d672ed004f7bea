"""What the OpenAPI schema says beyond what the routes' signatures say."""

from typing import Any

from fastapi import FastAPI

from pneumoscope.bundle import Bundle
from pneumoscope.serving import schemas
from pneumoscope.serving.problems import PROBLEM_JSON, Problem
from pneumoscope.serving.uploads import FORM_TYPE, IMAGE_TYPES


def complete_schema(app: FastAPI, bundle: Bundle) -> None:
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


def problem_responses(*kinds: Problem) -> dict[int | str, dict[str, Any]]:
    """Responses of a route for the OpenAPI schema: these kinds, and those that every route may give."""
    told: dict[int, list[str]] = {}
    for problem in (*kinds, Problem.UNAUTHORISED, Problem.UNKNOWN_HOST, Problem.UNKNOWN_PARAMETER):
        told.setdefault(problem.value.status, []).append(f"`{problem.code}`: {problem.value.title}.")
    return {
        status: {
            "description": " ".join(words),
            "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/ProblemSchema"}}},
        }
        for status, words in told.items()
    }


def image_body() -> dict[str, Any]:
    """A body that is an image."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {"requestBody": {"required": True, "content": dict.fromkeys(IMAGE_TYPES, binary)}}


def form_body() -> dict[str, Any]:
    """A body that is a form of files."""
    one = {"type": "string", "format": "binary"}
    form = {
        "type": "object",
        "required": ["files"],
        "properties": {"files": {"type": "array", "items": one, "minItems": 1}},
    }
    return {"requestBody": {"required": True, "content": {FORM_TYPE: {"schema": form}}}}
