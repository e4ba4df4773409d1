r"""Guidance weights: a number, one per sample, or a function of time.

A schedule is any function of the time; those that have names go from one weight to another,

.. math:: w(t) = w_{start} + (w_{end} - w_{start})\, h(t), \qquad h(0) = 0,\ h(1) = 1,

with t = 0 at the noise and t = 1 at the data, whatever the steps of the solver are. From a recipe: ``guidance.w={name:
linear, start: 1, end: 4}``; from Python the same mapping, ``fg.guidance.schedules.build("linear", start=1, end=4)``, or
``lambda t: 1 + 3 * t``.

Source: Wang et al. (2024), arXiv 2404.13040, for linear, cosine and power; Malarz et al. (2025), arXiv 2502.10574, for
beta.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor

from ..registry import Registry

schedules = Registry("schedule")


@runtime_checkable
class Schedule(Protocol):
    """A weight as a function of time."""

    def __call__(self, t: Tensor) -> Tensor:
        """The weight at ``t``, shape () or (B,), of t's dtype: one for all or one per sample."""
        ...


# What a rule takes for w; a mapping is a recipe's node of a schedule.
Weight: TypeAlias = float | Sequence[float] | Tensor | Mapping[str, Any] | Schedule


def check_weight(w: float | Sequence[float] | Tensor) -> float | Tensor:
    """A guidance weight as a number or as a tensor of one weight per sample; ValueError if it is neither."""
    if not isinstance(w, (int, float)):
        w = torch.as_tensor(w, dtype=None if isinstance(w, Tensor) else torch.get_default_dtype())
        if w.ndim == 1 and len(w):
            if not w.isfinite().all():
                raise ValueError(f"every guidance weight must be finite, not {w.tolist()}")
            return w
        if w.ndim:
            raise ValueError(f"w must be a number or one weight per sample, shape (B,), not of shape {tuple(w.shape)}")
        w = w.item()
    if not math.isfinite(w):
        raise ValueError(f"w must be a finite number (0 is unconditional, 1 is conditional), not {w}")
    return float(w)


def as_weight(w: Weight) -> float | Tensor | Schedule:
    """A weight as rules keep it, once checked: see :func:`weight_at`."""
    if isinstance(w, Mapping):
        return schedules.build_from(w)
    if isinstance(w, Schedule) and not isinstance(w, Tensor):
        return w
    return check_weight(w)


def weight_at(w: float | Tensor | Schedule, t: Tensor, x: Tensor) -> float | Tensor:
    """The weight at time ``t``, shape () or (B,), for states ``x``, shape (B, *).

    Returns:
        A number, or a tensor of x's dtype on its device, of shape () or (B,).
    Raises:
        ValueError: if there is not one weight per sample.
    """
    if isinstance(w, float):
        return w
    value = w if isinstance(w, Tensor) else w(t)
    if not isinstance(value, Tensor):
        return check_weight(value)
    if value.ndim > 1:
        raise ValueError(f"a schedule gives one weight, or one per sample, not weights of shape {tuple(value.shape)}")
    if value.ndim and len(value) != len(x):
        raise ValueError(f"w has {len(value)} weights for {len(x)} samples; it needs one per sample or one for all")
    return value.to(x)


class Ramp:
    """What schedules between two weights have in common.

    Args:
        start: The weight at the noise.
        end: The weight at the data.
    """

    def __init__(self, start: float = 0.0, end: float = 1.0) -> None:
        self.start, self.end = float(check_weight(start)), float(check_weight(end))

    def rise(self, t: Tensor) -> Tensor:
        """h, from 0 at t = 0 to 1 at t = 1, same shape as ``t``."""
        raise NotImplementedError

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
    """h(t) = t."""

    def rise(self, t: Tensor) -> Tensor:
        return t


@schedules.register("cosine")
class Cosine(Ramp):
    """h(t) = (1 - cos(pi t)) / 2: flat at both ends."""

    def rise(self, t: Tensor) -> Tensor:
        return (1 - torch.cos(math.pi * t)) / 2


@schedules.register("power")
class Power(Ramp):
    """h(t) = t^exponent: late for an exponent above 1, early for one below."""

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
