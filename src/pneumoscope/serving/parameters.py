"""Query parameters: those that a route does not have are refused, not ignored."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.datastructures import QueryParams
from starlette.routing import BaseRoute, Match, Mount
from starlette.types import Receive, Scope, Send

from pneumoscope.serving.edge import PAGES
from pneumoscope.serving.problems import Problem, ProblemError

# Of a name in an answer, and of unknown names in one.
_LONGEST_NAME, _MOST_NAMES = 100, 10


class KnownParameters:
    """A layer around the application that refuses unknown query parameters, before the body is read.

    The pages and their files are left out: what follows `?` there is not for the service.
    """

    def __init__(self, app: FastAPI) -> None:
        """Wrap the application, whose routes say which parameters there are."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request: by a problem, or by the application."""
        if scope["type"] == "http" and scope["query_string"]:
            try:
                self._check(scope)
            except ProblemError as error:
                await error.response(scope["state"]["request_id"])(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        route = _route(self._app.routes, scope)
        if route is None or isinstance(route, Mount) or scope["path"] in PAGES:
            return
        known = [field.alias for field in route.dependant.query_params] if isinstance(route, APIRoute) else []
        unknown = [name for name in QueryParams(scope["query_string"]) if name not in known]
        if unknown:
            scope["route"] = route  # counted under its path
            raise _unknown_parameters(unknown, known)


def _route(routes: Iterable[BaseRoute], scope: Scope) -> BaseRoute | None:
    # Matching reads the scope and leaves it as it is.
    return next((route for route in routes if route.matches(scope)[0] is Match.FULL), None)


def _unknown_parameters(unknown: Sequence[str], known: Sequence[str]) -> ProblemError:
    errors = []
    for name in unknown[:_MOST_NAMES]:
        nearest = get_close_matches(name[:_LONGEST_NAME], known, n=1, cutoff=0.0)
        errors.append(
            {"where": f"query.{name[:_LONGEST_NAME]}", "found": "unknown", "nearest": next(iter(nearest), None)}
        )
    expected = f"expected only the parameters {', '.join(known)}" if known else "expected no parameters"
    found = "; ".join(
        f"{name[:_LONGEST_NAME]!r}" + (f" (nearest known: {error['nearest']})" if error["nearest"] else "")
        for name, error in zip(unknown, errors, strict=False)
    )
    return ProblemError(Problem.UNKNOWN_PARAMETER, f"{expected}, found {found}", errors=errors)
