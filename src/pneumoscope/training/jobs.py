"""Trainings that do not wait for each other run at the same time: on this machine's cores, or on a Ray cluster."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pneumoscope.cluster import connected
from pneumoscope.errors import ConfigError, PneumoscopeError, RunError
from pneumoscope.processes import worker_processes
from pneumoscope.training import distributed
from pneumoscope.training.allocator import keep_freed_memory

# What a job came to in words, or why it came to nothing.
_Told = tuple[str, PneumoscopeError | None]
_Submit = Callable[["Job"], "Future[_Told]"]
# Of a job on a node that died.
_TRIES = 3


@dataclass(frozen=True)
class Job:
    """A training into a run folder of its own; what is finished there already is left as it is.

    Attributes:
        name: For people, and for `after`.
        train: A function of a module, which another process can find; returns what it came to, in words.
        given: To it.
        after: Name of the job whose result it builds on; empty where it builds on none.
    """

    name: str
    train: Callable[..., str]
    given: tuple[Any, ...]
    after: str = ""


@dataclass(frozen=True)
class Workers:
    """Where jobs run.

    Attributes:
        jobs: At the same time.
        address: Of a Ray cluster's head, host:port or `auto`; this machine's cores alone where None. Every node must see the
            same data, cache and run folders.
    """

    jobs: int = 1
    address: str | None = None

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise ConfigError(f"expected 1 job or more, found {self.jobs}: change --jobs")


def run_jobs(jobs: Sequence[Job], workers: Workers, say: Callable[[str], None]) -> None:
    """Runs jobs, those that others build on first; with a single worker nothing, for then the caller trains in turn.

    A training has its share of the machine's cores; its weights are those of a training alone but for rounding, which the
    number of threads changes.

    Args:
        jobs: In the order in which they are begun.
        workers: Where.
        say: Told of each that is done.

    Raises:
        PneumoscopeError: Of the first job that failed; no other was begun after it, and what was running was finished.
        RunError: A process was killed.
        DataError: The cluster cannot be reached.
    """
    if workers.jobs == 1 and workers.address is None:
        return
    if distributed.size() > 1:
        raise ConfigError("expected either --jobs or several processes, found both: leave one of them out")
    with _on_cluster(workers) if workers.address else _on_this_machine(workers.jobs) as submit:
        failed = _run_all(jobs, workers.jobs, submit, say)
    if failed:
        raise failed


def _run_all(jobs: Sequence[Job], at_once: int, submit: _Submit, say: Callable[[str], None]) -> PneumoscopeError | None:
    waiting, running = list(jobs), dict[Future[_Told], Job]()
    failed: PneumoscopeError | None = None
    while running or (waiting and not failed):
        unfinished = {job.name for job in [*waiting, *running.values()]}
        ready = [job for job in waiting if job.after not in unfinished]
        for job in ready[: 0 if failed else at_once - len(running)]:
            waiting.remove(job)
            running[submit(job)] = job
        finished, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in finished:
            job = running.pop(future)
            try:
                told, error = future.result()
            except BrokenProcessPool as broken:
                raise RunError(
                    f"expected {job.name} to end, found its process killed, as where memory is short: lower --jobs and run the "
                    "same command again"
                ) from broken
            failed = failed or error
            if not error:
                say(f"{job.name}: {told}")
    return failed


def _tried(job: Job) -> _Told:
    try:
        return job.train(*job.given), None
    except PneumoscopeError as error:
        return "", error


@contextmanager
def _on_this_machine(jobs: int) -> Iterator[_Submit]:
    threads = max(1, len(os.sched_getaffinity(0)) // jobs)
    pool = worker_processes(jobs, _prepare, threads)
    try:
        yield lambda job: pool.submit(_tried, job)
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare(threads: int) -> None:
    keep_freed_memory()
    import torch

    torch.set_num_threads(threads)


@contextmanager
def _on_cluster(workers: Workers) -> Iterator[_Submit]:
    with connected(workers.address):
        import ray

        cores = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        threads = max(1, min(sum(cores) // workers.jobs, max(cores, default=1)))
        remote = ray.remote(num_cpus=threads, max_retries=_TRIES)(_on_node)
        yield lambda job: remote.remote(job, threads).future()


def _on_node(job: Job, threads: int) -> _Told:
    _prepare(threads)
    return _tried(job)
