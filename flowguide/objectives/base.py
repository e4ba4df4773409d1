"""What every objective has in common: the call ``objective(model, data=, cond=)`` gives a scalar to minimise."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from ..fields import Field
from ..registry import Registry

objectives = Registry("objective")


class Objective(ABC):
    """A function of (model, data, cond) whose mean over the batch training minimises.

    Attributes:
        trains: What the model must be.
    """

    trains: type[nn.Module] = Field

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
        if not isinstance(model, self.trains):
            raise ValueError(f"{type(self).__name__} trains a {self.trains.__name__}, not a {type(model).__name__}")
        return self.losses(model, data, cond, generator).mean()
