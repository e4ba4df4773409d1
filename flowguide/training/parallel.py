"""How a model is spread over the ranks: a copy on each (DDP), or a share of every tensor on each (FSDP).

Either way a step is the one that a single process would take: gradients are means over all samples of the batch. What
is spread is the *loss* as a module, since backward passes have to begin where the engine can see them.

Source: Li et al. (2020), arXiv 2006.15704 (DDP); Zhao et al. (2023), arXiv 2304.11277 (FSDP).
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..objectives import Objective
from .ranks import Ranks


class Loss(nn.Module):
    """The loss of some samples, as a module.

    Args:
        model: What is trained.
        objective: What says how good it is.
        bfloat16: Whether matrix products and convolutions are computed in bfloat16 (autocast).
    """

    def __init__(self, model: nn.Module, objective: Objective, bfloat16: bool = False) -> None:
        super().__init__()
        self.model = model
        self.objective = objective
        self.bfloat16 = bfloat16

    def forward(self, data: Tensor, labels: Tensor | None, source: Tensor | None, generator: torch.Generator) -> Tensor:
        """The mean over the samples, shape ()."""
        with torch.autocast(data.device.type, torch.bfloat16, enabled=self.bfloat16):
            return self.objective(self.model, data=data, cond=labels, source=source, generator=generator)


def replicated(loss: Loss, ranks: Ranks) -> nn.Module:
    """The loss with a copy of its model on every rank, whose gradients become the mean of all."""
    if ranks.world == 1:
        return loss
    device = next(loss.parameters()).device
    return nn.parallel.DistributedDataParallel(loss, device_ids=[device.index] if device.type == "cuda" else None)


def shard(model: nn.Module, ranks: Ranks, device: torch.device) -> None:
    """Leave every rank a share of each tensor of the model, in place; whole are only those of the block in use.

    A model on the host is never whole on the device: its blocks go there one by one, and leave their shares.

    Args:
        model: On the host, or on the device.
        ranks: Who shares it.
        device: Where the shares are to be, of this rank.
    Raises:
        ValueError: if this torch cannot.
    """
    try:
        from torch.distributed.checkpoint import HuggingFaceStorageWriter  # noqa: F401, for its checkpoints
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
    except ImportError:
        raise ValueError(f"training.parallel=fsdp needs a newer torch than {torch.__version__}, or take ddp") from None

    # An output that is a view may not be changed in place; objectives never do.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view", UserWarning)
    network = network_of(model).to(memory_format=torch.contiguous_format)  # others cannot be shared out
    mesh = init_device_mesh(device.type, (ranks.world,))
    stacks = [module for module in network.modules() if isinstance(module, nn.ModuleList)]
    for block in [block for stack in reversed(stacks) for block in stack]:
        fully_shard(block, mesh=mesh)
    fully_shard(network, mesh=mesh)
    if hasattr(network, "encode"):
        register_fsdp_forward_method(network, "encode")


def network_of(model: nn.Module) -> nn.Module:
    """The network in a model; a bare network is its own."""
    return getattr(model, "network", model)


@contextmanager
def summing(loss: nn.Module, last: bool) -> Iterator[None]:
    """While it is entered, backward passes add to the gradients; the ranks exchange them in the last one alone."""
    if isinstance(loss, nn.parallel.DistributedDataParallel) and not last:
        with loss.no_sync():
            yield
        return
    network = network_of(getattr(loss, "model", loss))
    if hasattr(network, "set_requires_gradient_sync"):
        network.set_requires_gradient_sync(last)
    yield
