"""Scoring of an archive: the plan, the partitions that are missing, statistics of the run, a summary of all results.

OUT/_runs/*.json     statistics of each run, one file per run, also of interrupted runs
OUT/_summary.json    counts of all images; exists once all partitions do
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from pneumoscope.bundle import Bundle
from pneumoscope.errors import DataError
from pneumoscope.files import as_json
from pneumoscope.inference.pool import WorkerPool
from pneumoscope.scale.partition import PartitionResult, read_result, score_partitions, sum_results
from pneumoscope.scale.plan import Plan, Terms, code_version, open_plan
from pneumoscope.scale.storage import StoragePath, is_path
from pneumoscope.types import PredictionRequest

_RUNS, _SUMMARY = "_runs", "_summary.json"
_SECONDS_BETWEEN_WRITES = 30.0
_HOUR = 3600.0
# Threads that read the counts of partitions: a store responds after tens of milliseconds.
_THREADS = 32
# Partitions whose counts are read at a time, so that millions of them are not queued at once.
_CHUNK = 1000


class Engine(Protocol):
    """Engine that scores partitions.

    Attributes:
        name: Name of the engine.
        cores: Number of cores in use, once the scoring has begun.
    """

    name: str
    cores: int

    def score(self, plan: Plan, numbers: Sequence[int], bundle: Bundle) -> Iterator[PartitionResult]:
        """Scores partitions of a plan; yields the counts of each, in any order."""
        ...


class LocalEngine:
    """Worker processes of this machine, as in `predict`.

    Attributes:
        name: Name of the engine.
        cores: Number of worker processes.
    """

    name = "local"

    def __init__(self, workers: int) -> None:
        self.cores = workers

    def score(self, plan: Plan, numbers: Sequence[int], bundle: Bundle) -> Iterator[PartitionResult]:
        """Scores partitions; see `score_partitions`."""
        with WorkerPool(bundle, self.cores, plan.terms.device) as pool:
            yield from score_partitions(plan, numbers, pool)


class RunStatistics:
    """Progress and cost of a run.

    Attributes:
        plan: Plan of the run.
        earlier: Number of partitions that earlier runs scored.
        partitions: Number of partitions that this run scored.
        images: Number of images that this run scored.
    """

    def __init__(self, plan: Plan, earlier: int, core_hours: float, engine: Engine) -> None:
        self.plan = plan
        self.earlier = earlier
        self.partitions = 0
        self.images = 0
        self._earlier_core_hours = core_hours
        self._engine = engine
        self._start = time.monotonic()
        self._seconds: float | None = None

    def close(self) -> None:
        """Stops the clock at the end of the run."""
        self._seconds = self.seconds

    def add(self, result: PartitionResult) -> None:
        """Counts a scored partition."""
        self.partitions += 1
        self.images += result.images

    @property
    def seconds(self) -> float:
        """Duration of the run so far, or until its end, seconds."""
        return time.monotonic() - self._start if self._seconds is None else self._seconds

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.images / max(self.seconds, 1e-9)

    @property
    def seconds_left(self) -> float:
        """Estimated time until all partitions are scored, at the rate so far; infinite before the first."""
        left = self.plan.partitions - self.earlier - self.partitions
        return left * self.seconds / self.partitions if self.partitions else float("inf")

    @property
    def core_hours(self) -> float:
        """Cores times hours, of this and earlier runs together."""
        return self._earlier_core_hours + self._engine.cores * self.seconds / _HOUR

    def to_dict(self) -> dict[str, Any]:
        """Statistics of this run alone, as plain data."""
        return {
            "engine": self._engine.name,
            "cores": self._engine.cores,
            "seconds": round(self.seconds, 1),
            "partitions": self.partitions,
            "films": self.images,
            "core_hours": round(self.core_hours - self._earlier_core_hours, 6),
        }


@dataclass(frozen=True)
class ScoredArchive:
    """Result of scoring an archive.

    Attributes:
        plan: Plan of the scoring.
        total: Counts of all partitions together.
        run: Statistics of the run that scored the last partition.
    """

    plan: Plan
    total: PartitionResult
    run: RunStatistics


def score(
    manifest: str,
    out: str,
    bundle: Bundle,
    engine: Engine,
    partition_size: int = 1000,
    follow: Callable[[RunStatistics], None] = lambda statistics: None,
    request: PredictionRequest | None = None,
    device: str = "cpu",
) -> ScoredArchive:
    """Scores an archive, or the partitions that earlier runs have not scored, into a folder of Parquet files.

    Args:
        manifest: Folder, table, tar archive or pattern of these; a local path, or an address that fsspec reaches.
        out: Folder of the results; a local path, or an address that fsspec reaches.
        bundle: Bundle that makes the predictions.
        engine: Engine that scores the partitions.
        partition_size: Number of images per partition, which are predicted and written together.
        follow: Callback, called once before the first partition and after every one.
        request: Settings of the predictions; the usual ones where None. No evidence is drawn.
        device: `cpu`, or `cuda` for a GPU.

    Raises:
        ConfigError: The protocol of an address is unknown or its package is missing.
        DataError: No images, or a run with other files or settings in `out`.
        StorageError: An address cannot be reached; the same call resumes the run later.
        PneumoscopeError: The settings are not as expected.
    """
    request = request or PredictionRequest()
    bundle.manifest.point_shown(request)  # an unknown operating point is an error before anything is written
    terms = Terms(
        bundle.sha256,
        request.operating_point,
        request.prevalence,
        code_version(),
        device,
        tuple(sorted(request.accept)),
        bundle.manifest.classes,
    )
    plan = open_plan(_absolute(manifest), _absolute(out), terms, partition_size)
    done = plan.done()
    missing = [number for number in range(plan.partitions) if number not in done]
    statistics = RunStatistics(plan, len(done), _core_hours(plan), engine)
    follow(statistics)
    if not missing:
        statistics.close()
    else:
        with _RunRecord(statistics) as record:
            for result in engine.score(plan, missing, bundle):
                statistics.add(result)
                record.write_if_due()
                follow(statistics)
    total = _read_total(plan)
    _write_summary(plan, total)
    return ScoredArchive(plan, total, statistics)


def _write_summary(plan: Plan, total: PartitionResult) -> None:
    summary = {
        "films": total.images,
        "partitions": plan.partitions,
        "decisions": total.decisions,
        "reasons": total.reasons,
        "plan": plan.hash,
        "manifest": plan.manifest_hash,
        **asdict(plan.terms),
    }
    (StoragePath(plan.out) / _SUMMARY).write(as_json(summary).encode())


def _absolute(address: str) -> str:
    """Address that is valid for every worker, whatever its working directory."""
    return str(Path(address).absolute()) if is_path(address) else address


class _RunRecord:
    """Record of a run in `_runs`, written every half minute and at the end of the run."""

    def __init__(self, statistics: RunStatistics) -> None:
        start = datetime.now(UTC)
        name = f"{start:%Y%m%dT%H%M%SZ}-{uuid4().hex[:8]}.json"
        self._path = StoragePath(statistics.plan.out) / _RUNS / name
        self._statistics = statistics
        self._start = start.isoformat(timespec="seconds")
        self._written = time.monotonic()

    def __enter__(self) -> "_RunRecord":
        return self

    def __exit__(self, *_: object) -> None:
        self._statistics.close()
        self._write()

    def write_if_due(self) -> None:
        if time.monotonic() - self._written > _SECONDS_BETWEEN_WRITES:
            self._write()

    def _write(self) -> None:
        self._written = time.monotonic()
        self._path.write(as_json({"began": self._start, **self._statistics.to_dict()}).encode())


def _core_hours(plan: Plan) -> float:
    """Core-hours of earlier runs together."""
    folder = StoragePath(plan.out) / _RUNS
    return sum(float(json.loads((folder / name).read())["core_hours"]) for name in folder.names())


def _read_total(plan: Plan) -> PartitionResult:
    """Counts of all partitions together, from their result files.

    Raises:
        DataError: A partition is missing or damaged.
    """
    if missing := set(range(plan.partitions)) - plan.done():
        raise DataError(
            f"expected results of all {plan.partitions:,} partitions in {plan.out}, found {len(missing):,} missing: "
            "run the same command again"
        )
    numbers = range(plan.partitions)
    with ThreadPoolExecutor(_THREADS) as threads:
        return sum_results(
            result
            for start in range(0, plan.partitions, _CHUNK)
            for result in threads.map(lambda number: read_result(plan, number), numbers[start : start + _CHUNK])
        )
