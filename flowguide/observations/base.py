r"""What every observation has in common: a linear map, its transpose, and the deviation of the noise.

.. math:: y = A x + s\, n, \qquad n \sim N(0, I),

with x the clean data. A rule that is guided by y needs the residual :math:`y - A x`, :math:`A^\top`, and some of them
:math:`(a I + b A A^\top)^{-1}`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from ..randomness import normal
from ..registry import Registry

observations = Registry("observation")


class Observation(ABC):
    """A linear map of clean data and the noise that it is seen through.

    Args:
        std: s, the standard deviation of the noise, in data units, at least 0.
    Raises:
        ValueError: if std is negative or not finite.

    A map of one's own says what :meth:`__call__` is and, in :meth:`check`, which samples it takes; all else follows,
    and whatever is known in closed form may be said besides.
    """

    def __init__(self, std: float = 0.05) -> None:
        if not 0 <= std < math.inf:
            raise ValueError(f"std is the standard deviation of the noise, at least 0, not {std}")
        self.std = std
        self._eigen: dict[tuple, tuple[Tensor, Tensor]] = {}

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """A x, shape (B, *observed), for x of shape (B, *shape); linear in x, each sample by itself."""

    def check(self, shape: Sequence[int]) -> None:  # noqa: B027, as most take every shape
        """ValueError with the reason if samples of ``shape``, without the batch, cannot be observed so."""

    def observed_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of y, without the batch, for samples of ``shape``."""
        self.check(shape)
        return tuple(self(torch.zeros(1, *shape)).shape[1:])

    def observe(self, x: Tensor, seed: int = 0, *, first: int = 0) -> Tensor:
        """y for data x, shape (B, *shape), with noise; that of sample ``first + i`` is the same in every batch."""
        self.check(x.shape[1:])
        y = self(x)
        return y + self.std * normal(y.shape, seed, first=first, device=x.device, dtype=x.dtype)

    def residual(self, y: Tensor, x: Tensor) -> Tensor:
        """y - A x, shape (B, *observed), for y of that shape or of one that broadcasts against it."""
        return y - self(x)

    def transpose(self, y: Tensor, shape: Sequence[int]) -> Tensor:
        """:math:`A^\\top y`, shape (B, *shape), for y of shape (B, *observed)."""
        return torch.func.vjp(self, y.new_zeros(len(y), *shape))[1](y)[0]

    def solve(self, residual: Tensor, a: Tensor | float, b: Tensor | float, shape: Sequence[int]) -> Tensor:
        """:math:`(a I + b A A^\\top)^{-1} r`, shape (B, *observed).

        Args:
            residual: r, shape (B, *observed).
            a, b: Numbers, or one per sample in a shape that broadcasts against r, a + b > 0.
            shape: Of a sample, without the batch.
        """
        key = (tuple(shape), residual.dtype, residual.device)
        if key not in self._eigen:
            matrix = self.matrix(shape)
            values, vectors = torch.linalg.eigh(matrix @ matrix.T)
            self._eigen[key] = tuple(
                each.to(dtype=residual.dtype, device=residual.device) for each in (values.clamp(min=0), vectors)
            )
        values, vectors = self._eigen[key]
        a, b = (each.reshape(-1, 1) if isinstance(each, Tensor) else each for each in (a, b))
        flat = residual.flatten(1) @ vectors
        return ((flat / (a + b * values)) @ vectors.T).reshape(residual.shape)

    def matrix(self, shape: Sequence[int]) -> Tensor:
        """A itself, float64, shape (prod(observed), prod(shape)): for small samples, and for tests."""
        self.check(shape)
        unit = torch.eye(math.prod(shape), dtype=torch.float64)
        return self(unit.reshape(-1, *shape)).flatten(1).T.contiguous()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(std={self.std:g})"
