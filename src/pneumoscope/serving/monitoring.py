"""Prometheus metrics and request log of the service."""

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    disable_created_metrics,
    generate_latest,
)

from pneumoscope.bundle import Bundle
from pneumoscope.evaluation.drift import Drift
from pneumoscope.inference.drift import DriftReport
from pneumoscope.inference.prediction import Prediction

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_log = logging.getLogger("pneumoscope.requests")


class Monitoring:
    """Prometheus metrics and request log."""

    def __init__(self, bundle: Bundle, log_requests: bool) -> None:
        """Starts all counters at 0.

        Args:
            bundle: Bundle that makes the predictions.
            log_requests: Whether requests are logged.
        """
        self._log_requests = log_requests
        # A second series for each counter, with the time of its creation, would be of no use.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        # A registry of its own: several services in one process do not share their counts.
        self._registry = registry = CollectorRegistry()
        self._requests = Counter("pneumoscope_requests", "Responses sent", ["route", "status"], registry=registry)
        self._seconds = Histogram(
            "pneumoscope_request_seconds", "From first byte to response", ["route"], buckets=_SECONDS, registry=registry
        )
        self._decisions = Counter("pneumoscope_decisions", "Images by decision", ["decision"], registry=registry)
        self._reasons = Counter("pneumoscope_reasons", "Images by reason", ["reason"], registry=registry)
        self._history_rows = Counter("pneumoscope_history_rows", "Decisions kept in the history", registry=registry)
        self._history_failures = Counter(
            "pneumoscope_history_failures", "Decisions that could not be kept in the history", registry=registry
        )
        self._queue = Gauge("pneumoscope_images_accepted", "Images that wait or are being predicted", registry=registry)
        self._held = Gauge(
            "pneumoscope_bytes_held", "Of images that arrive, wait or are being predicted", registry=registry
        )
        self._replaced = Gauge(
            "pneumoscope_processes_replaced", "Processes that an image ended or held up", registry=registry
        )
        self._index = Gauge(
            "pneumoscope_drift_index", "Population stability index of the last images", ["statistic"], registry=registry
        )
        self._drifted = Gauge(
            "pneumoscope_drift", "0 steady or too few images, 1 moved, 2 drifted", ["statistic"], registry=registry
        )
        self._node = Gauge(
            "pneumoscope_node_images", "Images of the DICOM node, by state", ["state"], registry=registry
        )
        self._identity = Info("pneumoscope_bundle", "Bundle in use", registry=registry)
        self.use(bundle)

    def use(self, bundle: Bundle) -> None:
        """Name another bundle as the one that makes the predictions; counters go on."""
        self._identity.info({"name": bundle.manifest.name, "version": bundle.manifest.version, "sha256": bundle.sha256})

    def predicted(self, predictions: Sequence[Prediction]) -> None:
        """Counts predictions."""
        for prediction in predictions:
            self._decisions.labels(prediction.outcome).inc()
            for reason in prediction.reasons:
                self._reasons.labels(reason.value).inc()

    def kept(self, rows: int) -> None:
        """Count decisions that were kept in the history."""
        self._history_rows.inc(rows)

    def lost(self, rows: int) -> None:
        """Count decisions that could not be kept in the history."""
        self._history_failures.inc(rows)

    def answered(
        self, request_id: str, route: str, status: int, seconds: float, predictions: Sequence[Prediction]
    ) -> None:
        """Counts a request; the log gets ids, hashes and decisions, never names or images."""
        self._requests.labels(route, status).inc()
        self._seconds.labels(route).observe(seconds)
        if self._log_requests:
            line = {
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "id": request_id,
                "route": route,
                "status": status,
                "seconds": round(seconds, 4),
                "images": [
                    {"sha256": p.sha256, "decision": p.outcome, "reasons": list(p.reasons)} for p in predictions
                ],
            }
            _log.info(json.dumps(line))

    def metrics(
        self, accepted: int, held: int, replaced: int, drift: DriftReport, node: Mapping[str, int] | None = None
    ) -> bytes:
        """Metrics in Prometheus' text format.

        Args:
            accepted: Images that wait or are at work.
            held: Bytes of these images.
            replaced: Worker processes replaced so far.
            drift: Drift of the images that the bundle in use has predicted.
            node: Numbers of the DICOM node's queue; None where none is watched.
        """
        self._queue.set(accepted)
        self._held.set(held)
        self._replaced.set(replaced)
        words = {name: moved.drift for name, moved in drift.statistics.items()} | {"rejected": drift.rejections}
        # A bundle without a reference leaves no series of the one before it.
        self._index.clear()
        self._drifted.clear()
        for name, moved in drift.statistics.items():
            self._index.labels(name).set(moved.index)
        for name, word in words.items():
            self._drifted.labels(name).set({Drift.MOVED: 1, Drift.DRIFTED: 2}.get(word, 0))
        for state, number in (node or {}).items():
            self._node.labels(state).set(number)
        return generate_latest(self._registry)
