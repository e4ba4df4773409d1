"""What all features have in common."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ... import data
from ...data import Samples
from ...metrics import Seen, check_finite
from ...registry import Registry
from ...training import device_of

features = Registry("features", given=("setting",))


@dataclass(frozen=True)
class Setting:
    """What is known where features are built.

    Attributes:
        data: Node of the data set that is the reference.
        train, test: The data set.
        classifier: Network, objective, training and seed nodes of a classifier of it.
        device: Where to compute.
        show: Show a progress bar of what takes long.
    """

    data: Mapping[str, Any]
    train: Samples
    test: Samples
    classifier: Mapping[str, Any]
    device: str = "auto"
    show: bool = True

    @classmethod
    def of(
        cls, node: Mapping[str, Any], classifier: Mapping[str, Any], device: str = "auto", show: bool = True
    ) -> "Setting":
        """With the data set that the node names."""
        train, test = (data.registry.build_from(node, split=split) for split in ("train", "test"))
        return cls(node, train, test, classifier, device, show)


class Features(ABC):
    """What samples are turned into before they are compared.

    Args:
        setting: What is known where they are built.
    Raises:
        ValueError: if they are not of such data as the reference is.

    Attributes:
        device: Where they are computed.
        of: What data they are of; images are those of 1 or 3 channels, labelled ones of any.
        gives: "logits" if there are any; "labels" if those are of the data's own labels, so that accuracy is defined.
        resize: How images are resized, for captions.
        digest: Of all that the features depend on: another network has another.
        kept: Whether what is seen in real data is worth keeping on disk.
        batch_size: Samples at a time.
    """

    of: Literal["anything", "images", "labelled images"] = "anything"
    gives: tuple[str, ...] = ()
    resize: str = "none"
    digest: str
    kept: bool = True
    batch_size: int = 512

    def __init__(self, setting: Setting) -> None:
        self.setting, self.device = setting, device_of(setting.device)
        self.check(setting.train)

    @abstractmethod
    def caption(self, held_out: Seen) -> str:
        """Whose features these are, for tables and figures; ``held_out`` is what was seen of the held-out data."""

    @abstractmethod
    def look(self, samples: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features, shape (B, F), and logits, shape (B, classes) or None, of samples, shape (B, *), on the device."""

    def check(self, dataset: Samples) -> None:
        """ValueError if the features are not of such data."""
        images = len(dataset.shape) == 3 and (self.of != "images" or dataset.shape[0] in (1, 3))
        labelled = self.of != "labelled images" or dataset.num_classes is not None
        if self.of != "anything" and not (images and labelled):
            shape = "x".join(map(str, dataset.shape))
            labels = "" if dataset.num_classes else " without labels"
            raise ValueError(
                f"{type(self).__name__} features are of {self.of}, and {dataset.name} holds {shape}{labels}: "
                f"take features=identity 'metrics=[sliced_wasserstein,mmd]'"
            )

    @torch.no_grad()
    def see(self, samples: Tensor, labels: Tensor | None) -> Seen:
        """What is seen in samples, shape (N, *), with their labels, shape (N,), or None.

        Raises:
            ValueError: if a sample holds a number that is not finite.
        """
        check_finite(samples)
        looks = [self.look(batch.to(self.device)) for batch in samples.split(self.batch_size)]
        found = Seen.of([Seen(*look) for look in looks])
        return Seen(found.features, found.logits, None if labels is None else labels.to(self.device))


def as_bytes(images: Tensor) -> Tensor:
    """Images in [-1, 1], shape (B, 1 or 3, H, W), as colour images of bytes, uint8, shape (B, 3, H, W)."""
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).expand(-1, 3, -1, -1)
