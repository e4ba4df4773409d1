"""The coefficients of a path at one time: as tensors, and as numbers for whoever knows the time in advance."""

from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .path import Path

Scale = Tensor | float


def per_sample(value: Scale, ndim: int) -> Scale:
    """A number, or one per sample, shape (B,), so that it broadcasts against states (B, *) of ``ndim`` dimensions."""
    return value.reshape(-1, *[1] * (ndim - 1)) if isinstance(value, Tensor) and value.ndim else value


class Coefficients:
    """alpha, sigma and their derivatives at one time, each computed when it is first asked for.

    Args:
        path: The path.
        t: Shape () or (B,).
        ndim: Dimensions of the states that they will multiply: a ``t`` of shape (B,) gives (B, 1, ..., 1).
    """

    def __init__(self, path: "Path", t: Tensor, ndim: int) -> None:
        self.path = path
        self.t = per_sample(t, ndim)

    @cached_property
    def alpha(self) -> Tensor:
        return self.path.alpha(self.t)

    @cached_property
    def sigma(self) -> Tensor:
        return self.path.sigma(self.t)

    @cached_property
    def alpha_dot(self) -> Tensor:
        return self.path.alpha_dot(self.t)

    @cached_property
    def sigma_dot(self) -> Tensor:
        return self.path.sigma_dot(self.t)

    def spread(self, std: float) -> Tensor:
        """Standard deviation of the states of data of deviation s: :math:`\\sqrt{\\alpha^2 s^2 + \\sigma^2}`."""
        return torch.sqrt((self.alpha * std) ** 2 + self.sigma**2)

    @property
    def determinant(self) -> Tensor:
        """:math:`\\dot\\alpha\\sigma - \\alpha\\dot\\sigma > 0`: how fast the path turns from noise to data."""
        return self.alpha_dot * self.sigma - self.alpha * self.sigma_dot


class Numbers(NamedTuple):
    """Coefficients at one time as Python numbers, for whoever knows the time in advance, as a solver does."""

    alpha: float
    sigma: float
    alpha_dot: float
    sigma_dot: float
