"""What the samples that are measured are asked to be."""

from typing import NamedTuple

from torch import Tensor

from ..training import Asking, TrainConfig, build_conditioner, in_turn


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


def drawn_conditions(config: TrainConfig, num_classes: int | None, num: int, told: bool = True) -> Drawn:
    """The conditions of ``num`` samples: all classes in turn, or those of the held-out samples in turn.

    The second is of models that are told something else than labels, captions say; the labels are then those of the
    same samples. Held-out ones are taken whatever the reference: their captions need not have been trained on.

    Args:
        config: Of the run.
        num_classes: Of the field that is sampled; None if it takes no labels.
        num: How many.
        told: Whether the field takes conditions at all.
    """
    asking = Asking(build_conditioner(config), config.data) if told else None
    (conditions,), labels, num_classes = in_turn([asking], [num_classes], num)
    return Drawn(conditions, labels, num_classes)
