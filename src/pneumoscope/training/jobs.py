"""Concurrent trainings: jobs that run at the same time on this machine's cores, or on a Ray cluster."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pneumoscope.cluster import ray_connection
from pneumoscope.errors import ConfigError, PneumoscopeError, RunError
from pneumoscope.processes import worker_processes
from pneumoscope.progress import Progress, Report, silent
from pneumoscope.training import distributed
from pneumoscope.training.allocator import keep_freed_memory

# Summary of a job; empty with the error that ended it.
_Outcome = tuple[str, PneumoscopeError | None]
_Submit = Callable[["Job"], "Future[_Outcome]"]
# Number of retries of a job whose node died.
_RETRIES = 3


@dataclass(frozen=True)
class Job:
    """Training into a run folder of its own; a finished training is not repeated.

    Attributes:
        name: Name, which messages show and `after` refers to.
        train: Function of a module, which another process can import; returns a summary in one line.
        arguments: Arguments of the function.
        after: Name of the job whose result this one needs; empty where it needs none.
    """

    name: str
    train: Callable[..., str]
    arguments: tuple[Any, ...]
    after: str = ""


@dataclass(frozen=True)
class Workers:
    """Resources that jobs run on.

    Attributes:
        jobs: Number of jobs at the same time.
        address: Address of a Ray cluster's head, host:port or `auto`; None for this machine alone. Every node must see the
            same data, cache and run folders.
    """

    jobs: int = 1
    address: str | None = None

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise ConfigError(f"expected 1 job or more, found {self.jobs}: change --jobs")


def run_jobs(jobs: Sequence[Job], workers: Workers, message: Callable[[str], None], report: Report = silent) -> None:
    """Run jobs, each after the job that it needs; do nothing with a single local worker, where the caller trains in turn.

    The cores are divided among the jobs. The weights of a job are those of a training alone but for rounding, which the
    number of threads changes.

    Args:
        jobs: Jobs in the order in which they start.
        workers: Resources to run on.
        message: Function called with the name and summary of each finished job.
        report: Progress in finished jobs.

    Raises:
        PneumoscopeError: Error of the first job that failed; no job was started after it, and running jobs were finished.
        RunError: A process was killed.
        DataError: The cluster cannot be reached.
    """
    if workers.jobs == 1 and workers.address is None:
        return
    if distributed.world_size() > 1:
        raise ConfigError("expected either --jobs or several processes, found both: leave one of them out")
    with _on_cluster(workers) if workers.address else _on_this_machine(workers.jobs) as submit:
        failed = _run_all(jobs, workers.jobs, submit, message, report("trainings finished"))
    if failed:
        raise failed


def _run_all(
    jobs: Sequence[Job], concurrency: int, submit: _Submit, message: Callable[[str], None], follow: Progress
) -> PneumoscopeError | None:
    """Run jobs, at most `concurrency` at the same time; the error of the first that failed."""
    waiting, running = list(jobs), dict[Future[_Outcome], Job]()
    follow(0, len(jobs))
    failed: PneumoscopeError | None = None
    while running or (waiting and not failed):
        unfinished = {job.name for job in [*waiting, *running.values()]}
        ready = [job for job in waiting if job.after not in unfinished]
        for job in ready[: 0 if failed else concurrency - len(running)]:
            waiting.remove(job)
            running[submit(job)] = job
        finished, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in finished:
            job = running.pop(future)
            try:
                summary, error = future.result()
            except BrokenProcessPool as broken:
                raise RunError(
                    f"{job.name} failed: its process was killed, probably for lack of memory; lower --jobs and run the same "
                    "command again"
                ) from broken
            failed = failed or error
            if not error:
                message(f"{job.name}: {summary}")
                follow(len(jobs) - len(waiting) - len(running), len(jobs))
    return failed


def _run(job: Job) -> _Outcome:
    try:
        return job.train(*job.arguments), None
    except PneumoscopeError as error:
        return "", error


@contextmanager
def _on_this_machine(jobs: int) -> Iterator[_Submit]:
    threads = max(1, len(os.sched_getaffinity(0)) // jobs)
    pool = worker_processes(jobs, _set_up_worker, threads)
    try:
        yield lambda job: pool.submit(_run, job)
    finally:
        pool.shutdown(cancel_futures=True)


def _set_up_worker(threads: int) -> None:
    keep_freed_memory()
    import torch

    torch.set_num_threads(threads)


@contextmanager
def _on_cluster(workers: Workers) -> Iterator[_Submit]:
    with ray_connection(workers.address):
        import ray

        cores = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        threads = max(1, min(sum(cores) // workers.jobs, max(cores, default=1)))
        remote = ray.remote(num_cpus=threads, max_retries=_RETRIES)(_on_node)
        yield lambda job: remote.remote(job, threads).future()


def _on_node(job: Job, threads: int) -> _Outcome:
    _set_up_worker(threads)
    return _run(job)
