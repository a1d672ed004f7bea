"""An archive is scored: the plan, the partitions that are missing, the account of what was done and what it took.

OUT/_runs/*.json     what each run did and how long it took, a file to a run, also of runs that were broken off
OUT/_summary.json    what the images came to; there only once all partitions are
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from pneumoscope.bundle import Bundle
from pneumoscope.errors import DataError
from pneumoscope.files import as_json
from pneumoscope.inference.pool import WorkerPool
from pneumoscope.scale.partition import Done, counted, score_partitions, total
from pneumoscope.scale.plan import Plan, Terms, code_version, open_plan
from pneumoscope.scale.storage import Place, is_path
from pneumoscope.types import PredictionRequest

_RUNS, _SUMMARY = "_runs", "_summary.json"
_SECONDS_BETWEEN_NOTES = 30.0
_HOUR = 3600.0
# Results that are read at a time in the end: a store answers after tens of milliseconds.
_COUNTING = 32
_HELD = 1000


class Engine(Protocol):
    """Judges partitions.

    Attributes:
        name: For people.
        cores: At work, once it has begun.
    """

    name: str
    cores: int

    def score(self, plan: Plan, numbers: Sequence[int], bundle: Bundle) -> Iterator[Done]:
        """Judges partitions of a plan; yields what is done, in any order."""
        ...


class LocalEngine:
    """The processes of this machine, as in `predict`."""

    name = "local"

    def __init__(self, workers: int) -> None:
        self.cores = workers

    def score(self, plan: Plan, numbers: Sequence[int], bundle: Bundle) -> Iterator[Done]:
        """Judges partitions; see `score_partitions`."""
        with WorkerPool(bundle, self.cores, plan.terms.device) as pool:
            yield from score_partitions(plan, numbers, pool)


class Account:
    """What a run has done so far, and what that took.

    Attributes:
        plan: That it works on.
        earlier: Partitions that earlier runs have done.
        partitions: Done by this run.
        images: Likewise.
    """

    def __init__(self, plan: Plan, earlier: int, core_hours: float, engine: Engine) -> None:
        self.plan = plan
        self.earlier = earlier
        self.partitions = 0
        self.images = 0
        self._earlier_core_hours = core_hours
        self._engine = engine
        self._began = time.monotonic()
        self._seconds: float | None = None

    def close(self) -> None:
        """The run is over: its time stands still."""
        self._seconds = self.seconds

    def add(self, done: Done) -> None:
        """A partition more."""
        self.partitions += 1
        self.images += done.images

    @property
    def seconds(self) -> float:
        """Since the run began, until it ended."""
        return time.monotonic() - self._began if self._seconds is None else self._seconds

    @property
    def rate(self) -> float:
        """Images a second."""
        return self.images / max(self.seconds, 1e-9)

    @property
    def seconds_left(self) -> float:
        """Until all is done, if it goes on as it went; infinite before anything is done."""
        left = self.plan.partitions - self.earlier - self.partitions
        return left * self.seconds / self.partitions if self.partitions else float("inf")

    @property
    def core_hours(self) -> float:
        """Cores times hours, of this run and those before it."""
        return self._earlier_core_hours + self._engine.cores * self.seconds / _HOUR

    def as_json(self) -> dict[str, Any]:
        """This run alone, as plain data."""
        return {
            "engine": self._engine.name,
            "cores": self._engine.cores,
            "seconds": round(self.seconds, 1),
            "partitions": self.partitions,
            "films": self.images,
            "core_hours": round(self.core_hours - self._earlier_core_hours, 6),
        }


@dataclass(frozen=True)
class Scored:
    """What an archive came to.

    Attributes:
        plan: By which it was scored.
        all: All partitions together.
        account: Of the run that finished it.
    """

    plan: Plan
    all: Done
    account: Account


def score(
    manifest: str,
    out: str,
    bundle: Bundle,
    engine: Engine,
    partition_size: int = 1000,
    follow: Callable[[Account], None] = lambda account: None,
    request: PredictionRequest | None = None,
    device: str = "cpu",
) -> Scored:
    """Scores an archive, or what an earlier run has left of it, into a folder of Parquet files.

    Args:
        manifest: Folder, table, tar archive or pattern of them; a path, or an address that fsspec reaches.
        out: Folder of the results, likewise.
        bundle: Bundle that makes the predictions.
        engine: Engine that works on the partitions.
        partition_size: Images that are judged and put in place together.
        follow: Called whenever a partition is done, and once before the first.
        request: Settings of the predictions; the usual ones where None. No evidence is drawn.
        device: `cpu`, or `cuda` for a GPU.

    Raises:
        ConfigError: An address behind a protocol that cannot be reached.
        DataError: Nothing to score, or a run of something else in `out`.
        StorageError: An address cannot be reached; the same call later goes on where this ended.
        PneumoscopeError: The settings are not as expected.
    """
    asked = request or PredictionRequest()
    bundle.manifest.point_shown(asked)
    terms = Terms(bundle.sha256, asked.operating_point, asked.prevalence, code_version(), device)
    plan = open_plan(_absolute(manifest), _absolute(out), terms, partition_size)
    there = plan.done()
    missing = [number for number in range(plan.partitions) if number not in there]
    account = Account(plan, len(there), _core_hours(plan), engine)
    follow(account)
    if not missing:
        account.close()
    else:
        with _noted(account) as note:
            for done in engine.score(plan, missing, bundle):
                account.add(done)
                note.now_and_then()
                follow(account)
    every = _count(plan)
    summary = {
        "films": every.images,
        "partitions": plan.partitions,
        "decisions": every.decisions,
        "reasons": every.reasons,
        "plan": plan.hash,
        "manifest": plan.manifest_hash,
        **asdict(terms),
    }
    (Place(plan.out) / _SUMMARY).write(as_json(summary).encode())
    return Scored(plan, every, account)


def _absolute(address: str) -> str:
    """The same for every worker, wherever it was started."""
    return str(Path(address).absolute()) if is_path(address) else address


class _noted:
    """Keeps the account of a run on disk while it lasts."""

    def __init__(self, account: Account) -> None:
        began = datetime.now(UTC)
        name = f"{began:%Y%m%dT%H%M%SZ}-{uuid4().hex[:8]}.json"
        self._place = Place(account.plan.out) / _RUNS / name
        self._account = account
        self._began = began.isoformat(timespec="seconds")
        self._noted = time.monotonic()

    def __enter__(self) -> "_noted":
        return self

    def __exit__(self, *_: object) -> None:
        self._account.close()
        self._write()

    def now_and_then(self) -> None:
        if time.monotonic() - self._noted > _SECONDS_BETWEEN_NOTES:
            self._write()

    def _write(self) -> None:
        self._noted = time.monotonic()
        self._place.write(as_json({"began": self._began, **self._account.as_json()}).encode())


def _core_hours(plan: Plan) -> float:
    """Of earlier runs together."""
    folder = Place(plan.out) / _RUNS
    return sum(float(json.loads((folder / name).read())["core_hours"]) for name in folder.names())


def _count(plan: Plan) -> Done:
    """What all partitions came to, as what is in place says itself.

    Raises:
        DataError: A partition is missing or damaged.
    """
    if missing := set(range(plan.partitions)) - plan.done():
        raise DataError(
            f"expected results of all {plan.partitions:,} partitions in {plan.out}, found {len(missing):,} missing: "
            "run the same command again"
        )
    with ThreadPoolExecutor(_COUNTING) as threads:
        return total(
            done
            for some in _batched(range(plan.partitions), _HELD)
            for done in threads.map(lambda number: counted(plan, number), some)
        )


def _batched(numbers: Iterable[int], size: int) -> Iterator[list[int]]:
    left = iter(numbers)
    while some := list(islice(left, size)):
        yield some
