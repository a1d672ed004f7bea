"""Distributed training: several processes, the ranks, that train one network; world size 1 without a launcher.

Each rank works on its shard of every batch, and all ranks hold the same weights. Rank 0 alone writes files, downloads and
prints. The processes are started by torchrun, by SLURM's srun, or by `launch` on one machine; they communicate over gloo on
CPUs and over NCCL on GPUs.
"""

import logging
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import distributed

from pneumoscope.errors import ConfigError
from pneumoscope.training.precision import Precision, fabric_name

# Fabric announces precision and processes at every start; the run folder records what matters of these.
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
logging.getLogger("lightning.fabric").setLevel(logging.WARNING)

Result = TypeVar("Result")
# Rank 0 may evaluate, download or compute features for hours while the other ranks wait.
_TIMEOUT = timedelta(days=2)


def world_size() -> int:
    """Number of ranks; 1 without distributed training."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Rank of this process, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def is_first_rank() -> bool:
    """Whether this is rank 0, which writes files and prints."""
    return rank() == 0


def launch(processes: int = 1) -> None:
    """Join the processes that a launcher started, or start them on this machine.

    Args:
        processes: Number of processes to start; ignored under a launcher.

    Raises:
        ConfigError: Fewer than one process, or more than there are GPUs.
    """
    if processes < 1:
        raise ConfigError(f"expected 1 process or more, found {processes}: change --processes")
    count, nodes = _processes_and_nodes() or (processes, 1)
    if count * nodes == 1 or distributed.is_initialized():
        return
    gpus = torch.cuda.device_count()
    if gpus and count > gpus:
        raise ConfigError(f"expected at most {gpus} processes, one for each GPU, found {count}: change --processes")
    if not gpus:
        # Each process gets its own cores: with more threads than cores the processes slow each other down.
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // count))
    _ddp_fabric("32-true", count, nodes).launch()


def _processes_and_nodes() -> tuple[int, int] | None:
    """Number of processes on each node and of nodes, from torchrun or srun; None where neither started this process."""
    variables = os.environ
    if "TORCHELASTIC_RUN_ID" in variables:
        on_node = int(variables["LOCAL_WORLD_SIZE"])
        return on_node, int(variables["WORLD_SIZE"]) // on_node
    if "SLURM_PROCID" in variables and int(variables.get("SLURM_NTASKS", "1")) > 1:
        nodes = int(variables.get("SLURM_NNODES", "1"))
        return int(variables["SLURM_NTASKS"]) // nodes, nodes
    return None


def fabric(precision: Precision) -> Fabric:
    """Fabric of this process, alone or as one rank of several."""
    if world_size() == 1:
        return Fabric(accelerator="auto", devices=1, precision=fabric_name(precision))
    processes, nodes = _processes_and_nodes() or (world_size(), 1)
    result = _ddp_fabric(fabric_name(precision), processes, nodes)
    result.launch()
    return result


def _ddp_fabric(precision: Any, processes: int, nodes: int) -> Fabric:
    # Buffers need no synchronisation: moving statistics are computed from the whole batch on every rank.
    strategy = DDPStrategy(timeout=_TIMEOUT, forward_sync_buffers=False)
    return Fabric(accelerator="auto", devices=processes, num_nodes=nodes, strategy=strategy, precision=precision)


def on_first_rank(work: Callable[[], Result]) -> Result:
    """Run a function on rank 0 and broadcast its result to all ranks.

    Raises:
        Exception: The exception of the function, on all ranks.
    """
    if world_size() == 1:
        return work()
    outcome: list[Any] = [None, None]
    if is_first_rank():
        try:
            outcome = [work(), None]
        except Exception as error:  # of any type, or the other ranks would wait for ever
            outcome = [None, error]
    distributed.broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    result: Result = outcome[0]
    return result


def first_rank_then_others(work: Callable[[], Result]) -> Result:
    """Run a function on rank 0, then on the other ranks, which find on disk what rank 0 wrote.

    Raises:
        Exception: The exception of the function on rank 0, on all ranks.
    """
    results: list[Result] = []
    on_first_rank(lambda: results.append(work()))
    return results[0] if results else work()


def all_sum(*numbers: float) -> list[float]:
    """Sums of numbers over all ranks, in float64, bit for bit the same on all ranks."""
    if world_size() == 1:
        return list(numbers)
    device = torch.device("cuda" if distributed.get_backend() == "nccl" else "cpu")
    total = torch.tensor(numbers, dtype=torch.float64, device=device)
    distributed.all_reduce(total)
    return [float(each) for each in total.tolist()]
