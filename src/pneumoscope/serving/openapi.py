"""Parts of the OpenAPI schema that the routes' signatures do not give."""

from functools import cache
from typing import Any

from fastapi import FastAPI

from pneumoscope.bundle import Bundle
from pneumoscope.serving import schemas
from pneumoscope.serving.problems import PROBLEM_JSON, Problem
from pneumoscope.serving.uploads import FORM_TYPE, IMAGE_TYPES
from pneumoscope.types import BINARY, ClassScheme, Decision


def complete_schema(app: FastAPI, bundle: Bundle) -> None:
    """Adds the bundle's operating points, and the schema of problems, which the routes refer to."""
    plain = app.openapi

    # Completed once: FastAPI keeps the schema and would give the completed one again.
    @cache
    def openapi() -> dict[str, Any]:
        schema = plain()
        schema["components"]["schemas"]["ProblemSchema"] = schemas.ProblemSchema.model_json_schema()
        if bundle.manifest.scheme.is_own:
            _name_classes(schema["components"]["schemas"], bundle.manifest.scheme)
        for path in schema["paths"].values():
            for operation in path.values():
                for parameter in operation.get("parameters", ()):
                    if parameter["name"] == "operating_point":
                        parameter["schema"]["enum"] = list(bundle.manifest.operating_points)
        return schema

    app.openapi = openapi  # type: ignore[method-assign]


def _name_classes(models: dict[str, Any], scheme: ClassScheme) -> None:
    """Decisions and probability in the schema of predictions, as a bundle with a site's own classes has them."""
    for name in ("PredictionSchema", "PredictionWithEvidenceSchema"):
        if model := models.get(name):
            properties = model["properties"]
            properties[scheme.probability_field] = properties.pop(BINARY.probability_field)
            properties["decision"] = {"type": "string", "enum": [scheme.outcome(decision) for decision in Decision]}
            model["required"] = [name for name in properties if name != "evidence_map"]


def problem_responses(*kinds: Problem) -> dict[int | str, dict[str, Any]]:
    """Responses of a route for the OpenAPI schema: these kinds, and those that every route may give."""
    titles: dict[int, list[str]] = {}
    for problem in (*kinds, Problem.UNAUTHORISED, Problem.UNKNOWN_HOST, Problem.UNKNOWN_PARAMETER):
        titles.setdefault(problem.value.status, []).append(f"`{problem.code}`: {problem.value.title}.")
    return {
        status: {
            "description": " ".join(words),
            "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/ProblemSchema"}}},
        }
        for status, words in titles.items()
    }


def image_body() -> dict[str, Any]:
    """Request body that is an image."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {"requestBody": {"required": True, "content": dict.fromkeys(IMAGE_TYPES, binary)}}


def form_body() -> dict[str, Any]:
    """Request body that is a form of files."""
    one = {"type": "string", "format": "binary"}
    form = {
        "type": "object",
        "required": ["files"],
        "properties": {"files": {"type": "array", "items": one, "minItems": 1}},
    }
    return {"requestBody": {"required": True, "content": {FORM_TYPE: {"schema": form}}}}
