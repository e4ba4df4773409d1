"""The processes that train together: this one alone, or those that ``torchrun`` started, on one machine or several.

::

    torchrun --nproc-per-node 8 -m flowguide train imagenet256_dit

They speak through torch.distributed: tensors of a GPU by NCCL, and all else, what the processes have to agree on, by
Gloo, which lets no GPU wait.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed

# Longer than any checkpoint takes to be written: those who wait for it must not give up.
_PATIENCE = timedelta(minutes=30)


@dataclass(frozen=True)
class Ranks:
    """The place of this process among those that train together.

    Attributes:
        rank: Its number, from 0.
        world: How many there are.
        local: Its number on its machine, and that of its GPU.
    """

    rank: int = 0
    world: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def device(self, name: str) -> str:
        """The name of this process's own device, if a kind of device is asked for: "cuda" is "cuda:3" on the fourth."""
        several = self.world > 1 and (name == "cuda" or (name == "auto" and torch.cuda.is_available()))
        return f"cuda:{self.local}" if several else name

    def any(self, flag: bool) -> bool:
        """Whether ``flag`` is set on any of them."""
        if self.world == 1:
            return flag
        flags = torch.tensor(float(flag))
        distributed.all_reduce(flags, distributed.ReduceOp.MAX)
        return bool(flags)

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """The mean of ``value`` over all of them; the tensor itself is left alone."""
        if self.world == 1:
            return value
        total = value.detach().clone()
        distributed.all_reduce(total)
        return total / self.world

    def share(self, count: int) -> range:
        """Which of ``count`` rows are this one's, where each has its share."""
        most = -(-count // self.world)
        return range(min(self.rank * most, count), min((self.rank + 1) * most, count))

    def gathered(self, rows: torch.Tensor, count: int) -> torch.Tensor:
        """All ``count`` rows in their order, on every rank, from the share of each."""
        if self.world == 1:
            return rows
        padded = rows.new_zeros(-(-count // self.world), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in range(self.world)]
        distributed.all_gather(parts, padded)
        return torch.cat(parts)[:count]

    def wait(self) -> None:
        """Until all are here."""
        self.any(False)


@contextmanager
def joined() -> Iterator[Ranks]:
    """The ranks that torchrun tells of, connected while it is entered; without torchrun, this process alone.

    Raises:
        ValueError: if there are more processes on this machine than it has GPUs.
    """
    if distributed.is_initialized():  # by whoever calls
        yield Ranks(distributed.get_rank(), distributed.get_world_size(), int(os.environ.get("LOCAL_RANK", 0)))
        return
    world = int(os.environ.get("WORLD_SIZE", 1))
    if world == 1:
        yield Ranks()
        return
    ranks = Ranks(int(os.environ["RANK"]), world, int(os.environ["LOCAL_RANK"]))
    here, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", 1)), torch.cuda.device_count()
    if gpus and here > gpus:
        raise ValueError(f"torchrun started {here} processes on a machine of {gpus} GPUs: --nproc-per-node {gpus}")
    if gpus:
        torch.cuda.set_device(ranks.local)
    distributed.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo", timeout=_PATIENCE)
    try:
        yield ranks
    finally:
        distributed.destroy_process_group()


def is_loss_of_a_rank(error: RuntimeError) -> bool:
    """Whether an error is what is left of a process that went away: the others can only stop."""
    words = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "NCCL", "gloo", "Timed out")
    return isinstance(error, distributed.DistError) or any(word in str(error) for word in words)
