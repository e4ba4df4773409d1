"""What every objective has in common: the call ``objective(model, data=, cond=)`` gives a scalar to minimise."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from ..registry import Registry

objectives = Registry("objective")


class Objective(ABC):
    """A function of (model, data, cond) whose mean over the batch training minimises."""

    @abstractmethod
    def losses(self, model: nn.Module, data: Tensor, cond: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """One loss per sample, shape (B,)."""

    def __call__(
        self,
        model: nn.Module,
        *,
        data: Tensor,
        cond: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The mean loss of a batch, shape ().

        Args:
            model: What is trained: a Field, or a classifier.
            data: Shape (B, *).
            cond: Conditions, one per sample; None if there are none.
            generator: Source of all randomness, on data's device; torch's global one if None.
        """
        return self.losses(model, data, cond, generator).mean()
