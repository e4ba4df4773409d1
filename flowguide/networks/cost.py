r"""What a network costs: its parameters, and the floating-point operations of one evaluation.

Counted are matrix products, convolutions and attention, a multiplication with its addition as two operations; for a
linear layer of n inputs and m outputs, :math:`2 n m` per token. Papers often count such pairs, and so half as many.

Source: Peebles & Xie (2022), arXiv 2212.09748, table 9 (sizes by both numbers, in pairs).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from .autoencoder import Autoencoder
from .base import Classifier, Network
from .joined import joined


@dataclass(frozen=True)
class Cost:
    """Of one evaluation of a network, for one sample.

    Attributes:
        parameters: Numbers that are trained.
        flops: Floating-point operations, two for each multiplication with its addition.
    """

    parameters: int
    flops: int


def cost(network: nn.Module, shape: Sequence[int]) -> Cost:
    """Parameters and operations of a network, generative, a classifier or an autoencoder, for one sample of ``shape``.

    It evaluates the network once, under the null condition if there is one; on torch's meta device, ``with
    torch.device("meta")``, no number is computed and any size is free.
    """
    first = next(network.parameters())
    x = torch.zeros(1, *shape, dtype=first.dtype, device=first.device)
    t = torch.full((1,), 0.5, dtype=first.dtype, device=first.device)
    inputs = (x,) if isinstance(network, (Autoencoder, Classifier)) else (x, t)
    if isinstance(network, Network):
        inputs = (*inputs, _condition(network, x))
    # Not every kernel of attention has a formula; the plain one is two products that have.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), _Counter() as counter:
        network(*inputs)
    return Cost(sum(p.numel() for p in network.parameters()), counter.flops)


def _condition(network: Network, x: torch.Tensor) -> torch.Tensor | None:
    """The null condition, or another of which there is always one: the first label, an empty image."""
    if network.extra_channels:
        image = x.new_zeros(1, network.extra_channels, *x.shape[2:])
        first = None if network.labels is None else x.new_zeros(1, dtype=torch.int64)
        return joined(image, network.conditioning.null(1) if first is None else first)
    if network.needs_condition and network.num_classes is not None:
        return x.new_zeros(1, dtype=torch.int64)
    return network.null(1)


class _Counter(TorchDispatchMode):
    """Adds up torch's formulas. Its FlopCounterMode does so per module, and stumbles over gradients in a forward."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        if func._overloadpacket in flop_registry:
            self.flops += flop_registry[func._overloadpacket](*args, **kwargs, out_val=output)
        return output
