"""Scoring by a Ray cluster: Ray Data assigns each partition to a free worker, and again to another where one dies.

Only the number of a partition is sent to a worker, and its counts are sent back: a few hundred bytes, however large the
images. Workers read the plan and the images, and write the results, themselves.
"""

import json
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import ray
import ray.data
from ray.exceptions import RayError

from pneumoscope.bundle import Bundle
from pneumoscope.cluster import ray_connection
from pneumoscope.errors import DataError, PneumoscopeError, StorageError
from pneumoscope.inference.pool import WorkerPool
from pneumoscope.scale.partition import PartitionResult, read_result, score_partitions
from pneumoscope.scale.plan import Plan, code_version

# Blocks of partitions per run at most, so that the cluster's record of them stays small.
_MAX_BLOCKS = 10_000
# Partitions that fail one after the other before the run gives up.
_MAX_CONSECUTIVE_FAILURES = 8
# Object store of a cluster that this command starts itself: only numbers and counts pass through it.
_STORE_BYTES = 100 * 2**20


class RayEngine:
    """Ray cluster.

    Attributes:
        name: Name of the engine.
        cores: Number of cores in use, once the scoring has begun.
    """

    name = "ray"

    def __init__(
        self,
        address: str | None = None,
        workers: int | None = None,
        cores_per_worker: int = 1,
        gpus_per_worker: float = 0.0,
    ) -> None:
        """Selects a cluster and the resources to use.

        Args:
            address: Address of the cluster's head, host:port, or `auto` for the cluster that this machine belongs to; None
                starts a cluster on this machine.
            workers: Number of workers; None for as many as the cluster has room for.
            cores_per_worker: Cores of each worker, with one process for each core.
            gpus_per_worker: GPUs of each worker, used by all its processes; below 1 where several workers use one GPU.
        """
        self.cores = 0
        self._address = address
        self._workers = workers
        self._cores_per_worker = cores_per_worker
        self._gpus_per_worker = gpus_per_worker

    def score(self, plan: Plan, numbers: Sequence[int], bundle: Bundle) -> Iterator[PartitionResult]:
        """Scores partitions.

        Args:
            plan: Plan of the partitions.
            numbers: Numbers of the partitions, at least one.
            bundle: Loaded bundle, which is sent to the workers.

        Yields:
            Counts of each scored partition, in any order.

        Raises:
            DataError: The cluster cannot be reached, fails, or has no room for a worker.
            StorageError: Partitions failed; raised after all others are done, or after many failures in a row.
        """
        with ray_connection(self._address, _STORE_BYTES):
            workers = self._workers or _worker_capacity({"CPU": self._cores_per_worker, "GPU": self._gpus_per_worker})
            self.cores = workers * self._cores_per_worker
            partitions = ray.data.from_items(
                [{"partition": number} for number in numbers], override_num_blocks=min(len(numbers), _MAX_BLOCKS)
            )
            # A reference within a list is not resolved: otherwise every start of a worker would carry the bundle.
            shared = [ray.put(bundle)]
            results = partitions.map_batches(
                _Worker,
                fn_constructor_args=(plan, shared, self._cores_per_worker),
                batch_size=1,
                num_cpus=self._cores_per_worker,
                num_gpus=self._gpus_per_worker or None,
                compute=ray.data.ActorPoolStrategy(size=min(workers, len(numbers))),
            )
            yield from _results(results)


def _results(dataset: "ray.data.Dataset") -> Iterator[PartitionResult]:
    """Counts of each scored partition; failures are raised at the end, or after many in a row."""
    failures: list[str] = []
    consecutive = 0
    for row in _rows(dataset):
        record = json.loads(row["result"])
        if "failed" not in record:
            consecutive = 0
            yield PartitionResult(**record)
            continue
        failures.append(record["failed"])
        consecutive += 1
        if consecutive == _MAX_CONSECUTIVE_FAILURES:
            break
    if failures:
        raise StorageError(f"{len(failures)} partitions failed; the first: {failures[0]}")


def _rows(dataset: "ray.data.Dataset") -> Iterator[dict[str, Any]]:
    try:
        yield from dataset.iter_rows()
    except RayError as error:
        cause = str(error).splitlines()[0]
        raise DataError(
            f"Ray cluster failed: {cause}; check its logs and run the same command again to resume"
        ) from error


class _Worker:
    """Worker that scores partitions in a process of the cluster."""

    def __init__(self, plan: Plan, bundle: "list[ray.ObjectRef[Bundle]]", cores: int) -> None:
        self._plan = plan
        self._code_version = code_version()
        self._pool = WorkerPool(ray.get(bundle[0]), cores, plan.terms.device)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        return {"result": [json.dumps(self._score(int(number))) for number in batch["partition"]]}

    def _score(self, number: int) -> dict[str, Any]:
        """Counts of a partition as plain data, or the message of its failure."""
        if (expected := self._plan.terms.code_version) != self._code_version:
            host, found = platform.node(), self._code_version
            return {"failed": f"expected pneumoscope {expected} on {host}, found {found}: install the same there"}
        try:
            if self._plan.part(number).exists():
                # Another worker wrote the results and died before it returned the counts.
                return asdict(read_result(self._plan, number))
            (result,) = score_partitions(self._plan, [number], self._pool)
        except PneumoscopeError as error:
            return {"failed": str(error)}
        return asdict(result)


def _worker_capacity(wanted: dict[str, float]) -> int:
    """Number of workers with these resources, each on one node, that the cluster has room for."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    capacity = sum(min(int(node.get(name, 0) // each) for name, each in wanted.items() if each) for node in nodes)
    if capacity == 0:
        needed = ", ".join(f"{each:g} {name}" for name, each in wanted.items() if each)
        found = "; ".join(", ".join(f"{node.get(name, 0):g} {name}" for name in wanted) for node in nodes)
        raise DataError(f"expected a node with {needed} in the cluster, found {found or 'none'}: use less per worker")
    return capacity
