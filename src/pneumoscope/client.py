"""Client of a service that `pneumoscope serve` runs: the predictions of a `Detector`, made on another machine."""

import random
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from PIL import Image as Pillow

from pneumoscope.data.grey_levels import grey_levels
from pneumoscope.data.reading import image_bytes, image_name
from pneumoscope.errors import ConfigError, InputError, ServiceError
from pneumoscope.inference.inputs import several_images
from pneumoscope.inference.overlay import as_png
from pneumoscope.inference.prediction import Prediction
from pneumoscope.types import BINARY, ClassScheme, Decision

try:
    import httpx
except ImportError as error:
    raise ConfigError("expected httpx for the client, found none: pip install 'pneumoscope[client]'") from error

# Path, bytes, open binary file, Pillow image, array or tensor, as `Detector.predict` documents.
Image = Any
# Requests at a time: enough to keep the processes of a small service at work, few enough to leave room for others.
_IN_FLIGHT = 4
# Time for which a request is sent again while the service is busy, seconds.
_PATIENCE_SECONDS = 120.0
# Entries of the history per request.
_PAGE = 500
# Classes of a rejected image in the history, where the bundle that had them is gone: nothing of the prediction names them.
_UNNAMED = ClassScheme(("negative", "positive"))


@dataclass(frozen=True)
class HistoryEntry:
    """Decision in the history of a service.

    Attributes:
        id: Number of the entry, rising with time.
        time: Time of the decision, UTC, ISO 8601.
        prediction: Prediction, without maps and statistics.
    """

    id: int
    time: str
    prediction: Prediction


class Client:
    """A running service, used as a context manager; its methods may be called from several threads.

    A request that the service answers with 503 and `Retry-After`, since more images wait than it takes, is sent again after
    that time, for up to two minutes.
    """

    def __init__(self, url: str = "http://127.0.0.1:8000", key: str | None = None, timeout: float = 60.0) -> None:
        """Prepares the connections; nothing is sent yet.

        Args:
            url: Address that `pneumoscope serve` prints, or that of a proxy before it.
            key: API key; None for a service that requires none.
            timeout: Longest wait for the connection, and for each part of a request or response, seconds.

        Raises:
            InputError: No HTTP address, or a key that no header can carry.
        """
        if key is not None and not (key.isascii() and key.isprintable()):
            raise InputError(
                "expected a key of printable ASCII characters, found others: take it as --new-key printed it"
            )
        try:
            address = httpx.URL(url)
        except httpx.InvalidURL:
            address = httpx.URL()
        if address.scheme not in ("http", "https") or not address.host:
            raise InputError(f"expected an address such as http://127.0.0.1:8000, found {url!r}: name the service's")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(base_url=address, headers=headers, timeout=timeout)
        self._schemes: dict[str, ClassScheme] = {}

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self._http.base_url})"

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def predict(
        self,
        image: Image,
        operating_point: str = "balanced",
        prevalence: float | None = None,
        evidence: bool = False,
    ) -> Prediction:
        """Prediction for one image.

        Args:
            image: Image as `Detector.predict` takes it. Files and bytes are sent as they are; arrays, tensors and Pillow images
                as PNG, whose hash the prediction then carries.
            operating_point: Name of an operating point in the bundle.
            prevalence: Prevalence of pneumonia, in (0, 1), for which probabilities are shown; it does not change the
                decision. The bundle's where None.
            evidence: Whether to compute the evidence map.

        Returns:
            The prediction. An image that cannot be assessed is rejected with the reason.

        Raises:
            UnreadableImage: The file cannot be opened.
            InputError: An image of another type, shape or range.
            ServiceError: The service refuses the request, or does not answer.
        """
        return replace(self._predict(image, operating_point, prevalence, evidence), image=image)

    def predict_many(
        self,
        images: Iterable[Image] | Path | str,
        operating_point: str = "balanced",
        prevalence: float | None = None,
        evidence: bool = False,
    ) -> Iterator[Prediction]:
        """Predictions for any number of images, in their order, with a few requests at a time.

        Args:
            images: Images as for `predict`; or one path of a folder, a pattern, a table or an image, as on the command line.
            operating_point: Name of an operating point in the bundle.
            prevalence: Prevalence of pneumonia, in (0, 1), for which probabilities are shown; the bundle's where None.
            evidence: Whether to compute evidence maps.

        Returns:
            One prediction per image. Errors of `predict` are raised at the image's turn, and end the iteration.

        Raises:
            InputError: A single image.
            DataError: Nothing at the path.
        """
        return self._in_order(several_images(images), operating_point, prevalence, evidence)

    def evidence(self, image: Image) -> bytes:
        """Evidence drawn over an image, a PNG file of the image's size; its numbers come with `predict(..., evidence=True)`.

        Args:
            image: Image as for `predict`.

        Raises:
            UnreadableImage: The file cannot be opened.
            InputError: An image of another type, shape or range.
            ServiceError: The service refuses the request, such as `unreadable` for what holds no radiograph.
        """
        return self._send("POST", "/v1/evidence", content=_content(image)).content

    def bundle(self) -> dict[str, Any]:
        """Manifest of the bundle in use, as `GET /v1/bundle` gives it."""
        return self._json("GET", "/v1/bundle")

    def performance(self) -> dict[str, Any]:
        """Measured performance of the bundle in use, as `GET /v1/performance` gives it."""
        return self._json("GET", "/v1/performance")

    def ready(self) -> bool:
        """Whether the service would take an image now; False also where it does not answer."""
        try:
            return self._answer("GET", "/v1/ready").is_success
        except ServiceError:
            return False

    def history(self, text: str = "", decision: Decision | None = None) -> Iterator[HistoryEntry]:
        """Decisions on record, the newest first; they are requested as the iteration proceeds.

        Args:
            text: Part of the file's name, or the beginning of its hash; all where empty.
            decision: Decision; all where None.

        Raises:
            ServiceError: The service keeps none (`history_off`), or does not answer.
        """
        query: dict[str, Any] = {"text": text, "limit": _PAGE} | ({"decision": decision.value} if decision else {})
        entries: list[dict[str, Any]] = [{}] * _PAGE
        while len(entries) == _PAGE:
            entries = self._json("GET", "/v1/history", params=query)["entries"]
            for entry in entries:
                yield HistoryEntry(entry["id"], entry["time"], self._prediction(entry["prediction"]))
                query["before"] = entry["id"]

    def delete_history(self, number: int | None = None) -> int:
        """Deletes an entry of the history, or all where None; gives how many there were.

        Raises:
            ServiceError: The service keeps none (`history_off`), or has no such entry (`not_found`).
        """
        deleted: int = self._json("DELETE", "/v1/history" if number is None else f"/v1/history/{number}")["deleted"]
        return deleted

    def _predict(self, image: Image, operating_point: str, prevalence: float | None, evidence: bool) -> Prediction:
        query = {"file": image_name(image), "operating_point": operating_point, "evidence": evidence}
        query |= {} if prevalence is None else {"prevalence": prevalence}
        return self._prediction(self._json("POST", "/v1/predict", params=query, content=_content(image)))

    def _in_order(self, images: Iterable[Image], *settings: Any) -> Iterator[Prediction]:
        waiting: deque[Future[Prediction]] = deque()
        with ThreadPoolExecutor(_IN_FLIGHT) as pool:
            try:
                for image in images:
                    waiting.append(pool.submit(self._predict, image, *settings))
                    if len(waiting) == _IN_FLIGHT:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:  # also where the caller takes no more
                for future in waiting:
                    future.cancel()

    def _prediction(self, record: dict[str, Any]) -> Prediction:
        explained = record.pop("evidence_map", None)
        prediction = Prediction.from_dict(record, self._scheme(record))
        if explained is None:
            return prediction
        evidence = np.array(explained["map"], dtype=np.float32)
        top, left, bottom, right = explained["frame"]
        return replace(prediction, evidence_map=evidence, frame=(top, left, bottom, right))

    def _scheme(self, record: dict[str, Any]) -> ClassScheme:
        """Classes of the bundle that made a prediction, which in the history may be another one than is in use."""
        if names := record["class_probability"]:
            return ClassScheme(tuple(names))
        # The prediction of a rejected image names no class.
        made_by = record["bundle"]["sha256"]
        if made_by not in self._schemes:
            candidates = (ClassScheme(tuple(self.bundle()["classes"])), BINARY, _UNNAMED)
            self._schemes[made_by] = next(each for each in candidates if each.probability_field in record)
        return self._schemes[made_by]

    def _json(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        response = self._send(method, path, **request)
        try:
            record: dict[str, Any] = response.json()
        except ValueError as error:
            raise _problem(response) from error
        return record

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Response to a request, which is sent again while the service is busy.

        Raises:
            ServiceError: The service refuses the request, stays busy, or does not answer.
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not (response := self._answer(method, path, **request)).is_success:
            pause = _pause(response)
            if pause is None or time.monotonic() + pause > deadline:
                raise _problem(response)
            time.sleep(pause)
        return response

    def _answer(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **request)
        except httpx.RequestError as error:
            raise ServiceError(
                "unreachable",
                "The service does not answer",
                f"expected an answer from {self._http.base_url}, found none ({str(error) or type(error).__name__})",
                "start it with pneumoscope serve, or check address and network",
            ) from error


def _content(image: Image) -> bytes:
    """Bytes of an image file; those of a PNG file for an image that is none."""
    content = image_bytes(image)
    return as_png(Pillow.fromarray(grey_levels(image))) if content is None else content


def _pause(response: httpx.Response) -> float | None:
    """Time until a request is to be sent again, seconds; None where it is not.

    The time varies, so that not all who were refused together come back together.
    """
    after = response.headers.get("retry-after", "")
    if response.status_code != HTTPStatus.SERVICE_UNAVAILABLE or not after.isdecimal():
        return None
    return float(after) * random.uniform(0.5, 1.5)  # noqa: S311


def _problem(response: httpx.Response) -> ServiceError:
    """Problem that a response states (RFC 9457); one of its status where it states none, such as that of a proxy."""
    with suppress(ValueError, KeyError, TypeError, AttributeError):
        found = response.json()
        return ServiceError(found["type"].rpartition("/")[2], found["title"], found["detail"], found["advice"])
    status = f"{response.status_code} {response.reason_phrase}".strip()
    return ServiceError(
        "unexpected",
        f"HTTP {status}",
        f"expected a response of pneumoscope serve from {response.url}, found HTTP {status}",
        "check the address, and what stands between",
    )
