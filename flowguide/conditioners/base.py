"""What every conditioner has in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..data import Samples
from ..registry import Registry

conditioners = Registry("conditioner")

# The conditions of a batch, one row per sample, from its data (B, *), its labels (B,) if it has some, and a generator
# on their device for whatever is random.
Tell = Callable[[Tensor, Tensor | None, torch.Generator], Tensor | None]


class Conditioner(ABC):
    """What a network is told of a sample."""

    @abstractmethod
    def prepare(self, dataset: Samples) -> tuple[Samples, Tell]:
        """The data set as a training run is to read it, and what makes the conditions of its batches.

        The labels of the data set that is returned are what ``tell`` is given: a conditioner may number something else
        than classes in them, captions say.

        Args:
            dataset: On the device of the run.
        Raises:
            ValueError: if the data set lacks what the network is to be told.
        """

    def options(self, dataset: Samples) -> dict[str, Any]:
        """Options of the network that follow from the conditions; by default those of labels."""
        return {"num_classes": dataset.num_classes}

    def null(self) -> Tensor | None:
        """The condition that means "none given", one row; None if it is the network's own."""
        return None
