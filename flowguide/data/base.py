"""What a data set is: samples, with a label for each, that are asked for by their indices.

:class:`Dataset` holds its samples in memory, on a device of choice; :class:`~flowguide.data.streamed.Streamed` reads
them when they are asked for. Both have the face of :class:`Samples`, and nothing else need know which is which::

    data, labels = dataset.batch(index)     # float32, in the model's units; labels or None
    dataset[index]                          # the data alone

Images are kept as they are stored, one byte per channel and pixel, and become numbers in [-1, 1] a batch at a time.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor

from ..devices import sent
from ..digest import digest_of, digest_of_tensors
from ..fields import GaussianMixture
from ..registry import Registry

datasets = Registry("data set", given=("split",))

Split = Literal["train", "test"]

_LOOKED_AT = 64  # samples that tell one data set from another, where reading all of them would take long


def scaled(images: Tensor) -> Tensor:
    """Bytes as numbers in [-1, 1]: x / 127.5 - 1, with both ends exact, and the same to the bit on every device.

    Args:
        images: Any shape, uint8, in [0, 255].
    Returns:
        The same shape, float32.
    """
    return images.to(torch.float32).sub_(127.5).mul_(1 / 127.5)


@dataclass(frozen=True)
class Attribute:
    """One thing that is known of every sample, beside its label: the colour of a letter, say.

    Attributes:
        values: Shape (N,), int64, on the CPU: which of the names each sample has.
        names: What the values are called.
    """

    values: Tensor
    names: Sequence[str]


class Samples(ABC):
    """Labelled samples, wherever they lie.

    Attributes:
        name: Of the data set and its split, for captions: "digits (train)".
        shape: Of one sample.
        labels: Shape (N,), int64; None if there are none.
        num_classes: Number of labels; None if there are none.
        classes: What the labels are called, one name for each; None if they have no names.
        captions: An English sentence for each sample; None if there are none.
        attributes: What else is known of each sample, by name.
        flip: Whether a sample's mirror image is as good a sample, so that training may show either.
        levels: How many values, evenly spaced from -1 to 1, an entry takes: 256 if they are bytes; None if any.
        law: The mixture that they are drawn from, if it is known: samples can then be held to it.
        follows: Options of the data set that follow from what it found, and that a run keeps in its configuration.
    """

    name: str
    shape: tuple[int, ...]
    labels: Tensor | None
    num_classes: int | None
    classes: Sequence[str] | None
    captions: Sequence[str] | None
    attributes: Mapping[str, Attribute]
    flip: bool
    levels: int | None = None
    law: GaussianMixture | None = None
    follows: Mapping[str, Any] = MappingProxyType({})

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def batch(self, index: Tensor) -> tuple[Tensor, Tensor | None]:
        """Some samples and their labels, on the device of the set.

        Args:
            index: Which, shape (B,), int64, on any device.
        Returns:
            Data, shape (B, *), float32, images in [-1, 1]; and labels, shape (B,), int64, or None.
        """

    @abstractmethod
    def to(self, device: torch.device | str) -> "Samples":
        """The same, whose batches come on another device."""

    def __getitem__(self, index: Tensor) -> Tensor:
        """The data of some samples, without their labels: see :meth:`batch`."""
        return self.batch(index)[0]

    @property
    def samples(self) -> Tensor:
        """All data at once, shape (N, *), float32; for small sets."""
        return self[torch.arange(len(self))]

    @property
    def contents(self) -> list[Any]:
        """What tells these samples from others, as JSON: how many, their shape, their labels, and some of them."""
        tensors = {"some": self._looked_at()} | ({} if self.labels is None else {"labels": self.labels})
        return [len(self), list(self.shape), digest_of_tensors(tensors)]

    @property
    def outline(self) -> str:
        """What tells these samples from others without a look at one: their number, and their labels and captions."""
        labels = None if self.labels is None else digest_of_tensors({"labels": self.labels})
        about = [self.classes and list(self.classes), labels, self.captions and list(self.captions)]
        return f"{len(self)}, sha256 {digest_of(about)[:12]}"

    def _looked_at(self) -> Tensor:
        """Samples that are evenly spaced, or all of them where that takes no time."""
        return self[torch.linspace(0, len(self) - 1, min(len(self), _LOOKED_AT), dtype=torch.float64).round().long()]

    def parts(self, size: int = 512) -> Iterator[tuple[Tensor, Tensor | None]]:
        """All samples in their order, at most ``size`` at a time, as :meth:`batch` gives them."""
        for index in torch.arange(len(self)).split(size):
            yield self.batch(index)

    def _check(self) -> None:
        """ValueError if what is said about the samples does not fit their number."""
        if not len(self):
            raise ValueError(f"{self.name} holds no samples")
        if self.labels is not None:
            if self.labels.dtype != torch.int64:
                raise ValueError(f"the labels of {self.name} must be integers (int64), not {_kind(self.labels)}")
            if tuple(self.labels.shape) != (len(self),):
                shape = tuple(self.labels.shape)
                raise ValueError(f"{self.name} holds {len(self)} samples, and its labels have shape {shape}")
            low, high = int(self.labels.min()), int(self.labels.max())
            if low < 0 or (self.num_classes is not None and high >= self.num_classes):
                wrong, top = (low, "") if low < 0 else (high, f" to {self.num_classes - 1}")
                raise ValueError(f"the labels of {self.name} must be numbers from 0{top}, and one is {wrong}")
        if self.flip and len(self.shape) != 3:
            raise ValueError(
                f"flip=true shows mirror images, and {self.name} holds samples of shape {tuple(self.shape)}, no images"
            )
        if self.classes is not None and len(self.classes) != self.num_classes:
            raise ValueError(f"{self.name} names {len(self.classes)} classes and has {self.num_classes}")
        for what, values in {"captions": self.captions, **{k: a.values for k, a in self.attributes.items()}}.items():
            if values is not None and len(values) != len(self):
                raise ValueError(f"{self.name} holds {len(self)} samples, and {len(values)} {what}")
        for what, each in self.attributes.items():
            low, high = int(each.values.min()), int(each.values.max())
            if low < 0 or high >= len(each.names):
                wrong = low if low < 0 else high
                raise ValueError(f"{self.name} names {len(each.names)} values of {what}, and one is {wrong}")


@dataclass(frozen=True)
class Dataset(Samples):
    """Labelled samples, held in memory.

    Attributes:
        data: Shape (N, *): float32 in the model's units; or images as bytes, uint8, shape (N, channels, height, width),
            which become numbers in [-1, 1] when they are asked for.
        The rest: see :class:`Samples`.
    Raises:
        ValueError: if the tensors are of other types, or do not fit together.
    """

    name: str
    data: Tensor
    labels: Tensor | None = None
    num_classes: int | None = None
    law: GaussianMixture | None = None
    classes: Sequence[str] | None = None
    captions: Sequence[str] | None = None
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    flip: bool = False
    levels: int | None = None

    def __post_init__(self) -> None:
        if self.data.dtype == torch.uint8:
            object.__setattr__(self, "levels", 256)
        if self.data.dtype not in (torch.float32, torch.uint8):
            raise ValueError(f"the data of {self.name} must be float32, or images as uint8, not {_kind(self.data)}")
        if self.data.dtype == torch.uint8 and self.data.ndim != 4:
            raise ValueError(
                f"the data of {self.name} are bytes, which are images, (N, channels, height, width), "
                f"not of shape {tuple(self.data.shape)}"
            )
        self._check()

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample."""
        return tuple(self.data.shape[1:])

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor | None]:
        """See :meth:`Samples.batch`."""
        index = sent(index, self.data.device)
        data = self.data[index]
        return scaled(data) if data.dtype == torch.uint8 else data, None if self.labels is None else self.labels[index]

    def _looked_at(self) -> Tensor:
        return self.data

    def to(self, device: torch.device | str) -> "Dataset":
        """The same on another device."""
        labels = None if self.labels is None else self.labels.to(device)
        return replace(self, data=self.data.to(device), labels=labels)


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
