"""Problems of requests, as `application/problem+json`.

An image that cannot be assessed is no problem in this sense: its prediction is a rejection with a reason.

Source: RFC 9457.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Any

from starlette.responses import JSONResponse

PROBLEM_JSON = "application/problem+json"


@dataclass(frozen=True)
class Kind:
    """Kind of problem.

    Attributes:
        status: HTTP status code.
        title: Short description.
        advice: Remedy for the caller.
    """

    status: int
    title: str
    advice: str


class Problem(Enum):
    """Kinds of problems, by the last part of their `type`."""

    INVALID_REQUEST = Kind(
        422,
        "A parameter is missing or outside its range",
        "change what the detail names; the OpenAPI schema has every limit",
    )
    UNKNOWN_PARAMETER = Kind(
        422,
        "A query parameter is not one of the route's",
        "change what the detail names; the OpenAPI schema has the known names",
    )
    UNKNOWN_OPERATING_POINT = Kind(422, "The bundle has no such operating point", "ask /v1/bundle for those it has")
    UNSUPPORTED_MEDIA_TYPE = Kind(
        415, "The body is of a type that is not taken here", "send the image itself, or a form of files"
    )
    TOO_LARGE = Kind(413, "The image, or the form, is larger than is taken", "send the film in its usual size")
    TOO_MANY_IMAGES = Kind(413, "More images than one request may hold", "send several requests")
    UPLOAD_TIMEOUT = Kind(408, "The body did not arrive in time", "check the connection, and send it again")
    UNREADABLE = Kind(422, "There is no film in this image to draw", "ask /v1/predict for the reason")
    BUSY = Kind(
        503, "More images wait than can be predicted soon, or held", "send it again after `Retry-After` seconds"
    )
    STOPPING = Kind(503, "The service is stopping", "send it again after `Retry-After` seconds")
    UNAUTHORISED = Kind(401, "A key is needed", "send `Authorization: Bearer KEY`; who runs the service gives keys")
    UNKNOWN_HOST = Kind(
        421, "The service is not known by this name", "call it by its address, or start it with --allow-host"
    )
    CROSS_ORIGIN = Kind(
        403,
        "A web page of another origin sent this",
        "ask from the service's own page, or start it with --allow-origin and the page's origin",
    )
    NOT_FOUND = Kind(404, "There is nothing here", "see /v1/openapi.json for what there is")
    METHOD_NOT_ALLOWED = Kind(405, "This cannot be done here", "see /v1/openapi.json for what can")
    BAD_REQUEST = Kind(400, "The request is malformed", "see `detail`")
    HISTORY_OFF = Kind(404, "Nothing is kept", "start the service with --history FILE")
    HISTORY_UNAVAILABLE = Kind(503, "The history file cannot be used now", "send it again after `Retry-After` seconds")
    NODE_OFF = Kind(
        404, "No DICOM node is watched", "start the service with --node, and the node's settings file or folder"
    )
    UNUSABLE_REPORTS = Kind(422, "The body is no table of reports that can be used", "change what the detail names")
    NO_REPORT_MATCHES = Kind(
        422,
        "No report speaks of an image that the node has answered",
        "check that the table has the accession numbers, or the Study or SOP Instance UIDs, of images that the node got",
    )
    PACS_OFF = Kind(
        404, "No PACS can be searched", "start the service with --node and a settings file with a table [dicomweb]"
    )
    PACS_FAILED = Kind(502, "The PACS did not do what was requested", "see `detail`, and try it again")
    PACS_CONFLICT = Kind(
        409, "What would be sent is not what was confirmed", "predict the image again, and confirm what is found then"
    )
    PACS_READ_ONLY = Kind(
        403,
        "Nothing is sent to the PACS from here",
        "change `silent`, or `answers` in [dicomweb], in the node's settings",
    )
    FILMS_OFF = Kind(404, "No images are kept", "start the service with --keep-films FOLDER")
    ADAPTATIONS_OFF = Kind(404, "Nobody may adapt here", "start the service with --adaptations FOLDER")
    ADAPTATION_CONFLICT = Kind(
        409, "The state of the adaptation does not allow this", "ask /v1/adaptations for what there is, and its state"
    )
    ADAPTATION_FULL = Kind(
        413, "More than an adaptation may hold", "start it with what it holds, or use `pneumoscope adapt`"
    )
    INTERNAL = Kind(500, "The service failed", "report it, with the request's id")

    @property
    def code(self) -> str:
        """Last part of the `type`."""
        return self.name.lower()


class ProblemError(Exception):
    """Request that cannot be answered."""

    def __init__(self, problem: Problem, detail: str = "", headers: dict[str, str] | None = None, **more: Any) -> None:
        """Describes the problem.

        Args:
            problem: Kind of problem.
            detail: Description of this case; the kind's title where empty.
            headers: Headers of the response.
            more: Further members of the response.
        """
        super().__init__(detail or problem.value.title)
        self.problem, self.detail, self.headers, self.more = problem, detail, headers or {}, more

    def response(self, request_id: str) -> JSONResponse:
        """HTTP response for the caller."""
        kind = self.problem.value
        content = {
            "type": f"/v1/problems/{self.problem.code}",
            "title": kind.title,
            "status": kind.status,
            "detail": self.detail or kind.title,
            "advice": kind.advice,
            "instance": request_id,
            **self.more,
        }
        return JSONResponse(content, kind.status, self.headers, PROBLEM_JSON)
