r"""Averages of weights, kept while they are trained.

All have one form, and differ in the decay :math:`d_n` of update n = 0, 1, ...:

.. math:: \bar\theta \leftarrow \bar\theta + (1 - d_n)(\theta - \bar\theta).

A step costs one fused pass over the weights for each of them, and each is one copy of the model on its device; there is
no other, and a checkpoint goes through the host's memory.
"""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

from ..sharded import whole
from .power import gamma_of


class Average(ABC):
    """Keeps a slowly moving copy of a model.

    Args:
        model: The model that is trained.

    Attributes:
        model: The copy, in evaluation mode and without gradients.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self._trained = model

    @abstractmethod
    def decay_at(self, step: int) -> float:
        """How much of the average stays in update ``step``, counted from 0."""

    def share_at(self, step: int) -> float:
        """How much of the weights comes in: 1 - decay."""
        return 1 - self.decay_at(step)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the weights; ``step`` counts the updates from 0."""
        averages, weights, buffers = self._pairs
        torch._foreach_lerp_(averages, weights, self.share_at(step))
        for average, current in buffers:
            average.copy_(current)

    @cached_property
    def _pairs(self) -> tuple[list[Tensor], list[Tensor], list[tuple[Tensor, Tensor]]]:
        """Averages and weights, and buffers of both; found when first asked for: sharding replaces them."""
        buffers = zip(self.model.buffers(), self._trained.buffers(), strict=True)
        return list(self.model.parameters()), list(self._trained.parameters()), list(buffers)


class ExponentialAverage(Average):
    r"""Exponential moving average with a warm-up, which lets it forget the random initialisation.

    .. math:: d_n = \min\left(d, \frac{1 + n}{h + n}\right)

    Args:
        model: The model that is trained.
        decay: d, in [0, 1).
        warmup: h, at least 1, which is none. Until about step h / (1 - d) the average is much like the power-function
            one of gamma = h - 2.
    """

    def __init__(self, model: nn.Module, decay: float, warmup: float = 10) -> None:
        super().__init__(model)
        self.decay = decay
        self.warmup = warmup

    def decay_at(self, step: int) -> float:
        return min(self.decay, (1 + step) / (self.warmup + step))


class PowerAverage(Average):
    r"""Power-function average, whose length is a share of the run so far: see :mod:`.power`.

    .. math:: d_n = \left(1 - \frac{1}{n + 1}\right)^{\gamma + 1}

    Args:
        model: The model that is trained.
        sigma_rel: Relative width, at most 1/sqrt(12).

    Source: Karras et al. (2023), arXiv 2312.02696, Eq. 2.
    """

    def __init__(self, model: nn.Module, sigma_rel: float) -> None:
        super().__init__(model)
        self.sigma_rel = sigma_rel
        self.gamma = gamma_of(sigma_rel)

    def decay_at(self, step: int) -> float:
        return 1 - self.share_at(step)

    def share_at(self, step: int) -> float:
        # Not as a difference from 1, of which late in a long run few digits would be left.
        return 1.0 if step == 0 else -math.expm1((self.gamma + 1) * math.log1p(-1 / (step + 1)))


class Averages:
    """All averages that a run keeps.

    Args:
        model: The model that is trained.
        decay, warmup: Of the exponential average; decay None for none.
        lengths: Relative widths of power-function averages.

    Attributes:
        model: That of the first one, which stands for the averaged weights.
        models: All by the prefix that their tensors have in a checkpoint, "ema." for the first one.
    """

    def __init__(
        self, model: nn.Module, decay: float | None, warmup: float = 10, lengths: Sequence[float] = ()
    ) -> None:
        self._trained = model
        self._powers = [PowerAverage(model, length) for length in lengths]
        self._all: list[Average] = list(self._powers)
        if decay is not None:
            self._all.insert(0, ExponentialAverage(model, decay, warmup))
        self.model = self._all[0].model
        self.models: Mapping[str, nn.Module] = {
            "ema." if average is self._all[0] else prefix_of(average.sigma_rel): average.model for average in self._all
        }

    def update(self, step: int) -> None:
        """Move all towards the weights; ``step`` counts the updates from 0."""
        for average in self._all:
            average.update(step)

    def snapshot(self) -> dict[str, Tensor]:
        """The power-function averages in half precision, on the host, and the buffers of the model as they are.

        Float16 and not bfloat16: weights lie well inside its range, and its three digits more are an error of 2e-4 in
        place of 1.7e-3, which synthesis magnifies. A tensor that holds a number beyond 65504 stays what it is.
        """
        tensors = {}
        weights = dict(self._trained.named_parameters())
        for average in self._powers:
            prefix = prefix_of(average.sigma_rel)
            tensors |= {prefix + name: _half(tensor) for name, tensor in average.model.named_parameters()}
        state = self._trained.state_dict()
        return tensors | {f"buffers.{name}": tensor.cpu() for name, tensor in state.items() if name not in weights}


def prefix_of(sigma_rel: float) -> str:
    """What the tensors of a power-function average begin with in files."""
    return f"averages.{sigma_rel}."


def _half(tensor: Tensor) -> Tensor:
    tensor = whole(tensor.detach())
    half = tensor.half()
    return (half if half.isfinite().all() else tensor).cpu()
