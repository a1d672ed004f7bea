"""What the OpenAPI schema says is what the service does: asked by schemathesis with requests that fit it and that do not."""

import re
from pathlib import Path
from unittest import SkipTest

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from pneumoscope.serving.problems import Problem
from pneumoscope.serving.schemas import PredictionSchema
from pneumoscope.serving.uploads import IMAGE_TYPES
from pneumoscope.types import Reason
from serving.conftest import running

EXAMPLES = 40


@pytest.fixture(scope="module")
def api(phantom_bundle, films, tmp_path_factory):
    for kind in IMAGE_TYPES:
        schemathesis.openapi.media_type(kind, st.sampled_from([film.read_bytes() for film in films]))
    history = tmp_path_factory.mktemp("history") / "h.sqlite"
    with running(
        bundle=str(phantom_bundle),
        image_bytes=100_000,
        history=history,
        kept_images=history.parent / "films",
        adaptations=history.parent / "a",
    ) as service:
        yield schemathesis.openapi.from_url(f"{service.base_url}/v1/openapi.json")


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.integration
def test_the_service_keeps_to_its_schema(api, mode):
    asked = set()
    for found in api.get_all_operations():
        operation = found.ok()
        cases = operation.as_strategy(generation_mode=mode)

        @given(case=cases)
        @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
        def keeps_to_it(case):
            case.call_and_validate()

        try:
            keeps_to_it()
            asked.add(operation.label)
        except (SkipTest, Unsatisfiable):  # nothing of it can be wrong
            assert mode is GenerationMode.NEGATIVE
    expected = 21 if mode is GenerationMode.POSITIVE else 5
    assert len(asked) >= expected, sorted(asked)


def test_a_prediction_has_the_fields_of_the_schema(service, films):
    answer = service.post("/v1/predict", content=films[0].read_bytes()).json()
    assert set(PredictionSchema.model_fields) == set(answer)
    PredictionSchema.model_validate(answer)


def test_problems_and_routes_are_documented(service):
    text = (Path(__file__).parents[2] / "docs/reference/http.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `(\w+)` \| (\d{3}) \|", text, re.MULTILINE))
    assert told == {problem.code: str(problem.value.status) for problem in Problem}
    for path, methods in service.get("/v1/openapi.json").json()["paths"].items():
        for method in methods:
            assert f"`{method.upper()} {path}`" in text, (method, path)


def test_reasons_of_the_schema_are_those_of_the_detector(service):
    schemas = service.get("/v1/openapi.json").json()["components"]["schemas"]
    assert set(schemas["Reason"]["enum"]) == {reason.value for reason in Reason}
    assert "HTTPValidationError" not in schemas
