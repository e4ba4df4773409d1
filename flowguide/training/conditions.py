"""Conditions of a trained run from a user's words: a label, a caption, attributes by name."""

from typing import Any

from torch import Tensor

from .. import data
from ..conditioners import Asked, Conditioner
from .config import Node


class Asking:
    """Makes conditions of what users ask for; the data set of the run is built where it is needed, and kept.

    Args:
        conditioner: Of the run.
        dataset: Node of its data set.
    """

    def __init__(self, conditioner: Conditioner, dataset: Node) -> None:
        self.conditioner, self.node = conditioner, dataset
        self._built: dict[str, data.Samples] = {}

    def __call__(self, given: Any, num: int, num_classes: int | None) -> Tensor | None:
        """See :meth:`flowguide.Field.conditions`."""
        return self.conditioner.ask(given, Asked(num, num_classes, self.dataset))

    def dataset(self, split: data.Split) -> data.Samples:
        """A split of the run's data set."""
        if split not in self._built:
            self._built[split] = data.registry.build_from(self.node, split=split)
        return self._built[split]
