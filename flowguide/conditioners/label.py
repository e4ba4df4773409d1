"""The label of a sample, if it has one."""

import torch
from torch import Tensor

from ..data import Samples
from .base import Conditioner, Tell, conditioners


@conditioners.register("label")
class Label(Conditioner):
    """The label of a sample, if the data have labels: what is told where no conditioner is named."""

    def prepare(self, dataset: Samples) -> tuple[Samples, Tell]:
        return dataset, _label


def _label(data: Tensor, labels: Tensor | None, generator: torch.Generator) -> Tensor | None:
    return labels
