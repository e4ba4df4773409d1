"""What every conditioner has in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..data import Samples, Split
from ..registry import Registry
from .labels import asked_labels

conditioners = Registry("conditioner")

# The conditions of a batch, one row per sample, from its data (B, *), its labels (B,) if it has some, and a generator
# on their device for whatever is random.
Tell = Callable[[Tensor, Tensor | None, torch.Generator], Tensor | None]


@dataclass(frozen=True)
class Asked:
    """What is known where samples are asked for.

    Attributes:
        num: How many.
        num_classes: Of the field that is to be sampled; None if it takes no labels.
        dataset: Builds a split of the data set that the field was trained on, which takes a while: for what cannot be
            known without it.
    """

    num: int
    num_classes: int | None
    dataset: Callable[[Split], Samples]


class Conditioner(ABC):
    """What a network is told of a sample.

    Attributes:
        of_samples: Whether a sample is told more of itself than its class. Those that are measured are then asked to be
            as the held-out samples are, in turn, and otherwise of all classes in turn.
    """

    of_samples: bool = False

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

    def held_out(self, rows: Tensor, asked: Asked) -> Tensor | None:
        """What samples of the test split are told of themselves, as conditions; by default what training would tell.

        Nothing of it is left to chance: of what training leaves out now and then, all is told.

        Args:
            rows: Which of them, shape (B,), int64.
            asked: Of what.
        Returns:
            Shape (B, ...), on the CPU; None if they are told nothing.
        """
        prepared, tell = self.prepare(asked.dataset("test"))
        data, labels = prepared.batch(rows)
        told = tell(data, labels, torch.Generator(data.device).manual_seed(0))
        return None if told is None else told.cpu()

    def ask(self, given: Any, asked: Asked) -> Tensor | None:
        """What a user asks for, in a user's words, as conditions; by default labels, by number or by name.

        Args:
            given: One thing for all samples, a list with one for each, or None for what there is, in turn: all classes,
                or, where a sample is told more than its class, what was told of the samples of the test split.
            asked: How many, and of what.
        Returns:
            Conditions, one row per sample, shape (asked.num, ...), on the CPU; None if none can be given.
        Raises:
            ValueError: if it is nothing that the network was told.
        """
        return asked_labels(given, asked.num, asked.num_classes, lambda: asked.dataset("train"))


def one_for_each(given: Any, num: int, what: str) -> list[Any]:
    """A list with one entry for each sample, from that or from one thing for all; ValueError if they are not as many.

    Args:
        given: A list, or anything else.
        num: How many samples.
        what: The entries, in the plural, for messages.
    """
    several = list(given) if isinstance(given, (list, tuple)) else [given] * num
    if len(several) != num:
        raise ValueError(f"cond lists {len(several)} {what} for num={num} samples")
    return several
