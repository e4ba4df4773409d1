"""Guidance weights: a number, one per sample, or a function of time.

A schedule is any function of the time; those that have names are in :mod:`flowguide.guidance.ramps`. From a recipe:
``guidance.w={name: linear, start: 1, end: 4}``; from Python the same mapping, an object,
``fg.guidance.schedules.build("linear", start=1, end=4)``, or a function, ``lambda t: 1 + 3 * t``.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor

from ..devices import sent
from ..fields import Run
from ..randomness import numbers_of
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
        try:
            w = torch.as_tensor(w, dtype=None if isinstance(w, Tensor) else torch.get_default_dtype())
        except (TypeError, ValueError, RuntimeError):
            raise ValueError(
                f"a guidance weight is a number, one per sample, or a schedule that gives such, not {w!r:.80}"
            ) from None
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
        value = check_weight(value)
    if isinstance(value, float):
        return value
    if value.ndim > 1:
        raise ValueError(f"a schedule gives one weight, or one per sample, not weights of shape {tuple(value.shape)}")
    if value.ndim and len(value) != len(x):
        raise ValueError(f"w has {len(value)} weights for {len(x)} samples; it needs one per sample or one for all")
    return sent(value, x.device, x.dtype)


Choose: TypeAlias = Callable[[str, Tensor], Tensor]


def with_rows(name: str, held: Any, choose: Choose) -> Any:
    """What a rule holds under a name, with the rows chosen of a tensor that has one per sample."""
    if isinstance(held, Tensor) and held.ndim:
        return choose(name, held)
    return held.with_rows(name, choose) if hasattr(held, "with_rows") else held


def of_rows(rows: slice, total: int) -> Choose:
    """Chooses the rows of a batch of ``total``, from what has one for each.

    What has more is kept: of a share of the samples, it is for all of them, and is chosen from by their numbers.
    """

    def choose(name: str, values: Tensor) -> Tensor:
        if len(values) < total:
            raise ValueError(
                f"{name} has {len(values)} values for {total} samples; it needs one per sample or one for all"
            )
        whole = len(values) > total or (rows.start, rows.stop) == (0, total)
        return values if whole else values[rows]

    return choose


def of_run(run: Run) -> Choose:
    """Chooses the rows of the samples of a run, by their numbers, from what has more than the run has samples."""

    def choose(name: str, values: Tensor) -> Tensor:
        if run.count is None or len(values) <= run.count:
            return values
        numbers = numbers_of(run.first, run.count, values.device)
        last = int(numbers.max())
        if last >= len(values):
            raise ValueError(f"{name} has {len(values)} values, and there is a sample {last}: it needs one per sample")
        return values[numbers]

    return choose
