"""Parts of the OpenAPI schema that the routes' signatures do not give."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from pneumoscope.bundle import Bundle, Manifest
from pneumoscope.serving import schemas
from pneumoscope.serving.problems import PROBLEM_JSON, Problem
from pneumoscope.serving.uploads import CSV_TYPE, FORM_TYPE, IMAGE_TYPES, JSON_TYPE
from pneumoscope.types import BINARY, ClassScheme, Decision


def complete_schema(app: FastAPI, in_use: Callable[[], Bundle]) -> None:
    """Adds what the bundle in use says of itself, and the schema of problems, which the routes refer to."""
    plain = app.openapi

    # Hash of the bundle in use to its schema; FastAPI keeps the plain one.
    kept: dict[str, dict[str, Any]] = {}

    def completed(manifest: Manifest) -> dict[str, Any]:
        schema = deepcopy(plain())
        schema["info"]["description"] = (
            f"{manifest.scheme.negative} or {manifest.scheme.positive}, by {manifest.name} {manifest.version}. "
            f"{manifest.intended_use} **{manifest.notice}**"
        )
        models = schema["components"]["schemas"]
        models["ProblemSchema"] = schemas.ProblemSchema.model_json_schema()
        for model in (schemas.ReadImagesSchema, schemas.WantedSchema):
            _add_models(models, model)
        if manifest.scheme.is_own:
            _name_classes(models, manifest.scheme)
        for path in schema["paths"].values():
            for operation in path.values():
                for parameter in operation.get("parameters", ()):
                    if parameter["name"] == "operating_point":
                        parameter["schema"]["enum"] = list(manifest.operating_points)
                    if parameter["name"] == "prevalence":
                        parameter["description"] = manifest.scheme.named(parameter["description"])
        return schema

    def openapi() -> dict[str, Any]:
        bundle = in_use()
        if bundle.sha256 not in kept:
            kept.clear()
            kept[bundle.sha256] = completed(bundle.manifest)
        return kept[bundle.sha256]

    app.openapi = openapi  # type: ignore[method-assign]


def _add_models(models: dict[str, Any], model: type[BaseModel]) -> None:
    """A model of a body that a route reads itself, with the models that it refers to."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    models |= schema.pop("$defs", {})
    models[model.__name__] = schema


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


def json_body(schema: str, many: bool = False) -> dict[str, Any]:
    """Request body that is JSON of a schema, or a list of it."""
    one = {"$ref": f"#/components/schemas/{schema}"}
    content = {JSON_TYPE: {"schema": {"type": "array", "items": one} if many else one}}
    return {"requestBody": {"required": True, "content": content}}


def csv_body() -> dict[str, Any]:
    """Request body that is a table in CSV."""
    return {"requestBody": {"required": True, "content": {CSV_TYPE: {"schema": {"type": "string"}}}}}
