"""The processes that train one network together; a process alone is a team of one.

Each works on its share of every batch, and all of them hold the same weights. What is written, downloaded or told is the first
one's business. Launched by torchrun, by SLURM's srun, or by `assemble` itself on one machine; on processors they speak over
gloo, on GPUs over NCCL.
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

# Fabric announces precision and processes at every start; the run folder holds what matters of it.
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
logging.getLogger("lightning.fabric").setLevel(logging.WARNING)

Result = TypeVar("Result")
# The first may evaluate, download or compute features for hours while the others wait.
_PATIENCE = timedelta(days=2)


def size() -> int:
    """How many there are."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Which one this is, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def is_first() -> bool:
    """Whether this is the one that writes and tells."""
    return rank() == 0


def assemble(processes: int = 1) -> None:
    """Finds the others where a launcher started several, or starts so many on this machine.

    Args:
        processes: To start; left out of account under a launcher, which knows better.

    Raises:
        ConfigError: Fewer than one, or more than there are GPUs.
    """
    if processes < 1:
        raise ConfigError(f"expected 1 process or more, found {processes}: change --processes")
    count, nodes = _launched() or (processes, 1)
    if count * nodes == 1 or distributed.is_initialized():
        return
    gpus = torch.cuda.device_count()
    if gpus and count > gpus:
        raise ConfigError(f"expected at most {gpus} processes, one for each GPU, found {count}: change --processes")
    if not gpus:
        # Each its share of the cores, or they only get in each other's way.
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // count))
    _fabric("32-true", count, nodes).launch()


def _launched() -> tuple[int, int] | None:
    """Processes on each node and nodes, as torchrun or srun say; None where neither started this process."""
    told = os.environ
    if "TORCHELASTIC_RUN_ID" in told:
        here = int(told["LOCAL_WORLD_SIZE"])
        return here, int(told["WORLD_SIZE"]) // here
    if "SLURM_PROCID" in told and int(told.get("SLURM_NTASKS", "1")) > 1:
        nodes = int(told.get("SLURM_NNODES", "1"))
        return int(told["SLURM_NTASKS"]) // nodes, nodes
    return None


def fabric(precision: Precision) -> Fabric:
    """Fabric for this process, alone or as part of the team."""
    if size() == 1:
        return Fabric(accelerator="auto", devices=1, precision=fabric_name(precision))
    here = _launched() or (size(), 1)
    found = _fabric(fabric_name(precision), *here)
    found.launch()
    return found


def _fabric(precision: Any, processes: int, nodes: int) -> Fabric:
    # Moving statistics are the same everywhere as it is: what they follow is summed over all processes.
    strategy = DDPStrategy(timeout=_PATIENCE, forward_sync_buffers=False)
    return Fabric(accelerator="auto", devices=processes, num_nodes=nodes, strategy=strategy, precision=precision)


def first(work: Callable[[], Result]) -> Result:
    """The first does it; all get what came of it.

    Raises:
        Exception: What the work raised, in all of them.
    """
    if size() == 1:
        return work()
    told: list[Any] = [None, None]
    if is_first():
        try:
            told = [work(), None]
        except Exception as error:  # whatever it is, the others would wait for ever
            told = [None, error]
    distributed.broadcast_object_list(told)
    if told[1] is not None:
        raise told[1]
    result: Result = told[0]
    return result


def in_turn(work: Callable[[], Result]) -> Result:
    """The first does it, then the others, who find on disk what it left there.

    Raises:
        Exception: What the work raised for the first, in all of them.
    """
    kept: list[Result] = []
    first(lambda: kept.append(work()))
    return kept[0] if kept else work()


def summed(*numbers: float) -> list[float]:
    """Sums over all of them, the same in all of them to the last bit."""
    if size() == 1:
        return list(numbers)
    device = torch.device("cuda" if distributed.get_backend() == "nccl" else "cpu")
    total = torch.tensor(numbers, dtype=torch.float64, device=device)
    distributed.all_reduce(total)
    return [float(each) for each in total.tolist()]
