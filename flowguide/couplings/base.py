"""What every coupling has in common: it says which source sample goes with each data sample."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from ..registry import Registry

couplings = Registry("coupling")


class Coupling(ABC):
    """A pairing of the samples of a batch.

    Attributes:
        permutes: Whether every source sample is used exactly once, as all do but those that draw from a plan.
    """

    permutes: bool = True

    @abstractmethod
    def assign(self, data: Tensor, source: Tensor, cond: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """Index of the source sample that goes with each data sample, int64, shape (B,); arguments as of the call."""

    @torch.no_grad()
    def __call__(
        self, data: Tensor, source: Tensor, cond: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """The source samples in the order of the data that they go with.

        Args:
            data, source: Shape (B, *), of one dtype and on one device.
            cond: Conditions of the data, one per sample, or None.
            generator: Of whatever is drawn, on data's device; torch's global one if None.
        Returns:
            Shape (B, *).
        Raises:
            ValueError: if shapes disagree, or a pairing has no finite cost.
        """
        if data.shape != source.shape or data.ndim < 2:
            raise ValueError(
                f"a coupling pairs data and source samples of one shape (B, *), not {tuple(data.shape)} and "
                f"{tuple(source.shape)}"
            )
        if cond is not None and len(cond) != len(data):
            raise ValueError(f"there must be one condition per sample: got {len(cond)} for {len(data)} samples")
        return source[self.assign(data, source, cond, generator)]
