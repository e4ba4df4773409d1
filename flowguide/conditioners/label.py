"""The label of a sample, if it has one."""

import torch
from torch import Tensor

from ..data import Samples
from .base import Asked, Conditioner, Tell, conditioners


@conditioners.register("label")
class Label(Conditioner):
    """The label of a sample, if the data have labels: what is told where no conditioner is named."""

    def prepare(self, dataset: Samples) -> tuple[Samples, Tell]:
        return dataset, _label

    def held_out(self, rows: Tensor, asked: Asked) -> Tensor | None:
        labels = asked.dataset("test").labels  # of which no sample need be read
        return None if labels is None else labels.cpu()[rows]


def _label(data: Tensor, labels: Tensor | None, generator: torch.Generator) -> Tensor | None:
    return labels
