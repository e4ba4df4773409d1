r"""Schedules by name: guidance weights that go from one number to another,

.. math:: w(t) = w_{start} + (w_{end} - w_{start})\, h(t), \qquad h(0) = 0,\ h(1) = 1,

with t = 0 at the noise and t = 1 at the data, whatever the steps of the solver are.

To add one, register a class whose instances are called with t, shape () or (B,), and give weights of that shape.

Source: Wang et al. (2024), arXiv 2404.13040, for linear, cosine and power; Malarz et al. (2025), arXiv 2502.10574, for
beta.
"""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from .weights import check_weight, schedules


class Ramp(ABC):
    """What schedules between two weights have in common.

    Args:
        start: The weight at the noise.
        end: The weight at the data.
    """

    def __init__(self, start: float = 0.0, end: float = 1.0) -> None:
        self.start, self.end = float(check_weight(start)), float(check_weight(end))

    @abstractmethod
    def rise(self, t: Tensor) -> Tensor:
        """h, from 0 at t = 0 to 1 at t = 1, same shape as ``t``."""

    def __call__(self, t: Tensor) -> Tensor:
        return self.start + (self.end - self.start) * self.rise(t)


@schedules.register("constant")
class Constant:
    """The same weight at all times."""

    def __init__(self, value: float = 1.0) -> None:
        self.value = float(check_weight(value))

    def __call__(self, t: Tensor) -> Tensor:
        return torch.full_like(t, self.value)


@schedules.register("linear")
class Linear(Ramp):
    """A straight line: h(t) = t."""

    def rise(self, t: Tensor) -> Tensor:
        return t


@schedules.register("cosine")
class Cosine(Ramp):
    """Half a wave, flat at both ends: h(t) = (1 - cos(pi t)) / 2."""

    def rise(self, t: Tensor) -> Tensor:
        return (1 - torch.cos(math.pi * t)) / 2


@schedules.register("power")
class Power(Ramp):
    """A power: h(t) = t^exponent, late for an exponent above 1, early for one below."""

    def __init__(self, start: float = 0.0, end: float = 1.0, exponent: float = 2.0) -> None:
        super().__init__(start, end)
        if not 0 < exponent < math.inf:
            raise ValueError(f"the exponent of a schedule must be positive and finite, not {exponent}")
        self.exponent = exponent

    def rise(self, t: Tensor) -> Tensor:
        return t**self.exponent


@schedules.register("beta")
class Beta:
    """From low at both ends to high between, in the shape of t^a (1 - t)^b, which is highest at a / (a + b)."""

    def __init__(self, low: float = 0.0, high: float = 1.0, a: float = 1.0, b: float = 1.0) -> None:
        if not (0 < a < math.inf and 0 < b < math.inf):
            raise ValueError(f"a and b of the schedule beta must be positive and finite, not {a} and {b}")
        self.low, self.high = float(check_weight(low)), float(check_weight(high))
        self.a, self.b = a, b

    def __call__(self, t: Tensor) -> Tensor:
        peak = self.a / (self.a + self.b)
        return self.low + (self.high - self.low) * (t / peak) ** self.a * ((1 - t) / (1 - peak)) ** self.b
