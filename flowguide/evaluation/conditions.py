"""What the samples that are measured are asked to be."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..training import Asking, TrainConfig, build_conditioner


class Drawn(NamedTuple):
    """What samples are drawn of.

    Attributes:
        conditions: One row per sample; None if the model takes none.
        labels: The labels that metrics hold them to, shape (num,); None if they have none.
        num_classes: How many labels there are; None likewise.
    """

    conditions: Tensor | None
    labels: Tensor | None
    num_classes: int | None


def drawn_conditions(config: TrainConfig, num_classes: int | None, num: int) -> Drawn:
    """The conditions of ``num`` samples: all classes in turn, or those of the held-out samples in turn.

    The second is of models that are told something else than labels, captions say; the labels are then those of the
    same samples. Held-out ones are taken whatever the reference: their captions need not have been trained on.

    Args:
        config: Of the run.
        num_classes: Of the field that is sampled; None if it takes no labels.
        num: How many.
    """
    conditioner = build_conditioner(config)
    if num_classes is not None or not conditioner.of_samples:
        labels = None if num_classes is None else torch.arange(num) % num_classes
        return Drawn(labels, labels, num_classes)
    asking = Asking(conditioner, config.data)
    test = asking.dataset("test")
    labels = None if test.labels is None else test.labels[torch.arange(num) % len(test)]
    return Drawn(asking(None, num, None), labels, test.num_classes)
