"""Conditions of trained runs: of words, a label, a caption, attributes by name; or of all that there is, in turn."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
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

    def with_test(self, test: data.Samples) -> Callable[[data.Split], data.Samples]:
        """The splits of the run's data set, with another one's test split."""
        return lambda split: test if split == "test" else self.dataset(split)


class InTurn(NamedTuple):
    """What samples are asked to be where nobody says what.

    Attributes:
        conditions: Of each model that makes them together, one row per sample; None if it takes none.
        labels: What they can be held to, shape (num,); None if they have none.
        num_classes: How many labels there are; None likewise.
    """

    conditions: list[Tensor | None]
    labels: Tensor | None
    num_classes: int | None


def in_turn(askings: Sequence[Asking | None], classes: Sequence[int | None], num: int) -> InTurn:
    """All classes in turn; or, where a model is told more of a sample than its label, what held-out samples are told.

    Every model is told of the same samples, each what it knows: one their captions, say, and another their labels.

    Args:
        askings: Of the models that make the samples together; None for one that is told nothing.
        classes: How many labels each is told; None if none.
        num: How many samples.
    Raises:
        ValueError: if models are told other labels.
    """
    tellers = [
        asking
        for asking, known in zip(askings, classes, strict=True)
        if asking is not None and known is None and asking.conditioner.of_samples
    ]
    if not tellers:
        conditions = [
            torch.arange(num) % known if known is not None else None if asking is None else asking(None, num, None)
            for asking, known in zip(askings, classes, strict=True)
        ]
        num_classes = next((known for known in classes if known is not None), None)
        return InTurn(conditions, None if num_classes is None else torch.arange(num) % num_classes, num_classes)
    test = tellers[-1].dataset("test")
    rows = torch.arange(num) % len(test)
    for known in classes:
        if known not in (None, test.num_classes):
            raise ValueError(f"one model is told {known} labels, and {test.name} has {test.num_classes or 'none'}")
    conditions = [
        None if asking is None else asking.conditioner.held_out(rows, Asked(num, known, asking.with_test(test)))
        for asking, known in zip(askings, classes, strict=True)
    ]
    return InTurn(conditions, None if test.labels is None else test.labels[rows], test.num_classes)
