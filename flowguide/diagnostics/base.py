"""What every diagnostic has in common: a field, states and a time in; a number with its standard error out."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..fields import Field
from ..paths import KINDS
from ..registry import Registry, unknown
from .derivatives import eagerly

diagnostics = Registry("diagnostic")


@dataclass(frozen=True)
class Finding:
    """What a diagnostic found.

    Attributes:
        value: The headline number.
        error: Its standard error over the samples, taken as draws of a law, and over random probes; 0 where it is a
            quadrature, or one sample and no probe. It says nothing of the error of a grid or of a line integral.
        per_sample: A number for each sample, shape (B,), of x's dtype.
        parts: What else was found on the way, by name: numbers and tensors.
    """

    value: float
    error: float
    per_sample: Tensor
    parts: dict[str, Any] = field(default_factory=dict)


class Diagnostic(ABC):
    """A property of a field at given states.

    Attributes:
        title: For axes and tables.
        unit: What the headline is measured in; "" for a pure number.
        pointwise: Whether the number of a sample depends on that sample alone (a grid is laid around all of them).
    """

    title: str
    unit: str
    pointwise: bool = True

    @abstractmethod
    def measure(self, field: Field, x: Tensor, t: Tensor, cond: Tensor | None, first: int) -> Finding:
        """The finding at ``x`` (B, *), ``t`` () or (B,) of x's dtype; ``first`` is the index of the sample in row 0."""

    def __call__(
        self, field: Field, x: Tensor, t: Tensor | float, cond: Tensor | None = None, *, first: int = 0
    ) -> Finding:
        """Measure.

        Args:
            field: Any field, guided or not, compiled or not, out of training mode.
            x: States, shape (B, *), in the dtype to compute in.
            t: Time, a number or a tensor of shape () or (B,).
            cond: Conditions, one per sample, or None.
            first: Index of the sample in row 0: sample ``first + i`` has the same random probes in every batch.
        Raises:
            ValueError: if the arguments do not fit each other or the diagnostic, or the field cannot be differentiated.
        """
        if not x.is_floating_point() or x.ndim < 2 or not len(x):
            raise ValueError(f"states are floating-point, of shape (B, *), not {x.dtype} of shape {tuple(x.shape)}")
        t = torch.as_tensor(t, dtype=x.dtype, device=x.device)
        if t.shape not in ((), (len(x),)):
            raise ValueError(f"t is one time for all or one per sample, shape () or ({len(x)},), not {tuple(t.shape)}")
        if any(isinstance(m, nn.modules.dropout._DropoutNd) and m.training and m.p > 0 for m in field.modules()):
            raise ValueError("the field is in training mode and drops units at random; call field.eval() first")
        field.check_condition(cond, len(x))
        with eagerly():
            return self.measure(field, x.detach(), t.detach(), cond, first)


def check_kind(kind: str) -> str:
    """A kind of prediction; ValueError with the closest match if there is none of that name."""
    if kind not in KINDS:
        raise unknown("kind of prediction", kind, KINDS)
    return kind


def at_least(name: str, value: int, least: int) -> int:
    """An option that counts something."""
    if value < least:
        raise ValueError(f"{name} must be at least {least}, not {value}")
    return value


def beneath(field: Field) -> Field:
    """The field beneath all guidance rules."""
    return getattr(field, "plain", field)


def one_question(name: str, t: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """The time and the condition that all samples share, shapes () and (1, ...), for a diagnostic on a grid."""
    if t.ndim and not bool((t == t[0]).all()):
        raise ValueError(f"{name} lays one grid, at one time: got times from {t.min():.4g} to {t.max():.4g}")
    if cond is not None and not bool((cond == cond[:1]).all()):
        raise ValueError(f"{name} lays one grid, under one condition: the samples have different ones")
    return (t[0] if t.ndim else t), (None if cond is None else cond[:1])
