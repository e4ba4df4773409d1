"""What a data set is: tensors, held in memory, with a label for each sample."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from ..fields import GaussianMixture
from ..registry import Registry

datasets = Registry("data set", given=("split",))

Split = Literal["train", "test"]


@dataclass(frozen=True)
class Dataset:
    """Labelled samples.

    Attributes:
        name: Of the data set and its split, for captions: "digits (train)".
        data: Shape (N, *), float32; images in [-1, 1], shape (N, channels, height, width).
        labels: Shape (N,), int64; None if there are none.
        num_classes: Number of labels; None if there are none.
        law: The mixture that they are drawn from, if it is known: samples can then be held to it.
    """

    name: str
    data: Tensor
    labels: Tensor | None = None
    num_classes: int | None = None
    law: GaussianMixture | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample."""
        return tuple(self.data.shape[1:])

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor | None]:
        index = index.to(self.data.device)
        return self.data[index], None if self.labels is None else self.labels[index]

    def to(self, device: torch.device | str) -> "Dataset":
        """The same on another device."""
        labels = None if self.labels is None else self.labels.to(device)
        return replace(self, data=self.data.to(device), labels=labels)
