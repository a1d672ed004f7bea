"""Partitions judged by a Ray cluster: Ray Data hands each to a free worker, and hands it out again where one dies.

What travels is a partition's number to a worker and what it came to back: a few hundred bytes, however large the images.
Workers read the plan and the images, and write the results, themselves.
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
from pneumoscope.cluster import connected
from pneumoscope.errors import DataError, PneumoscopeError, StorageError
from pneumoscope.inference.pool import WorkerPool
from pneumoscope.scale.partition import Done, counted, score_partitions
from pneumoscope.scale.plan import Plan, code_version

# Pieces of work to a run at most, so that what the cluster knows of them stays small; of more partitions each has several.
_MOST_PIECES = 10_000
# Partitions that fail one after the other before the rest is not tried.
_GIVE_UP_AFTER = 8
# Only numbers pass through the store of a cluster that this command starts itself.
_OWN_STORE_BYTES = 100 * 2**20


class RayEngine:
    """A Ray cluster.

    Attributes:
        name: For people.
        cores: At work, once it has begun.
    """

    name = "ray"

    def __init__(
        self,
        address: str | None = None,
        workers: int | None = None,
        cores_per_worker: int = 1,
        gpus_per_worker: float = 0.0,
    ) -> None:
        """Says which cluster, and how much of it.

        Args:
            address: Of its head, host:port, or `auto` for the one that this machine is part of; None starts one here.
            workers: Detectors at work; None for as many as the cluster has room for.
            cores_per_worker: Of each, with a process that decodes and judges for each core.
            gpus_per_worker: Of each, shared by its processes; a part of one where several workers are to share it.
        """
        self.cores = 0
        self._address = address
        self._workers = workers
        self._cores_per_worker = cores_per_worker
        self._gpus_per_worker = gpus_per_worker

    def score(self, plan: Plan, numbers: Sequence[int], bundle: Bundle) -> Iterator[Done]:
        """Judges partitions.

        Args:
            plan: That they are part of.
            numbers: Of the partitions, at least one.
            bundle: Loaded bundle: workers need no file of it.

        Yields:
            What is done, in any order.

        Raises:
            DataError: The cluster cannot be reached, or has no room for a worker.
            StorageError: Partitions failed; told after all others were done, or when many failed in a row.
        """
        with connected(self._address, _OWN_STORE_BYTES):
            workers = self._workers or _room({"CPU": self._cores_per_worker, "GPU": self._gpus_per_worker})
            self.cores = workers * self._cores_per_worker
            pieces = ray.data.from_items(
                [{"partition": number} for number in numbers], override_num_blocks=min(len(numbers), _MOST_PIECES)
            )
            # Within a list a reference travels as it is: the bundle itself would be part of every order to start a worker.
            shared = [ray.put(bundle)]
            answers = pieces.map_batches(
                _Worker,
                fn_constructor_args=(plan, shared, self._cores_per_worker),
                batch_size=1,
                num_cpus=self._cores_per_worker,
                num_gpus=self._gpus_per_worker or None,
                compute=ray.data.ActorPoolStrategy(size=min(workers, len(numbers))),
            )
            yield from _told(answers)


def _told(answers: "ray.data.Dataset") -> Iterator[Done]:
    failed: list[str] = []
    in_a_row = 0
    for answer in _rows(answers):
        told = json.loads(answer["told"])
        if "failed" not in told:
            in_a_row = 0
            yield Done(**told)
            continue
        failed.append(told["failed"])
        in_a_row += 1
        if in_a_row == _GIVE_UP_AFTER:
            break
    if failed:
        raise StorageError(
            f"expected to finish every partition, found {len(failed)} that failed; the first: {failed[0]}"
        )


def _rows(answers: "ray.data.Dataset") -> Iterator[dict[str, Any]]:
    try:
        yield from answers.iter_rows()
    except RayError as error:
        raise DataError(
            f"expected the cluster to go on, found {str(error).splitlines()[0]}: see its logs, then run the same command again"
        ) from error


class _Worker:
    """Judges partitions in a process of the cluster."""

    def __init__(self, plan: Plan, bundle: "list[ray.ObjectRef[Bundle]]", cores: int) -> None:
        self._plan = plan
        self._code_version = code_version()
        self._pool = WorkerPool(ray.get(bundle[0]), cores, plan.terms.device)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        return {"told": [json.dumps(self._score(int(number))) for number in batch["partition"]]}

    def _score(self, number: int) -> dict[str, Any]:
        if (wanted := self._plan.terms.code_version) != self._code_version:
            return {
                "failed": f"expected pneumoscope {wanted} on {platform.node()}, found {self._code_version}: install the same there"
            }
        try:
            if self._plan.part(number).exists():
                # A worker that died had put the results in place and not told it.
                return asdict(counted(self._plan, number))
            (done,) = score_partitions(self._plan, [number], self._pool)
        except PneumoscopeError as error:
            return {"failed": str(error)}
        return asdict(done)


def _room(wanted: dict[str, float]) -> int:
    """How many workers the cluster has room for, each on one node."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    room = sum(min(int(node.get(name, 0) // each) for name, each in wanted.items() if each) for node in nodes)
    if room == 0:
        told = ", ".join(f"{each:g} {name}" for name, each in wanted.items() if each)
        found = "; ".join(", ".join(f"{node.get(name, 0):g} {name}" for name in wanted) for node in nodes)
        raise DataError(f"expected a node with {told} in the cluster, found {found or 'none'}: ask for less per worker")
    return room
