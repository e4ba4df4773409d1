"""Time grids: where a solver puts its steps."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from ..paths import Path
from ..registry import Registry

grids = Registry("grid")


class Grid(ABC):
    """A choice of ``steps + 1`` increasing times from ``start`` to ``end``, which are inside the path's interval."""

    @abstractmethod
    def __call__(self, path: Path, start: float, end: float, steps: int) -> Tensor:
        """float64, shape (steps + 1,)."""


@grids.register("uniform")
class Uniform(Grid):
    """Steps of equal length in t."""

    def __call__(self, path: Path, start: float, end: float, steps: int) -> Tensor:
        return torch.linspace(start, end, steps + 1, dtype=torch.float64)
