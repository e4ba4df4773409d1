"""What every metric has in common: it compares what a classifier saw in samples with what it saw in real data."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..registry import Registry

metrics = Registry("metric")


@dataclass(frozen=True)
class Seen:
    """What a classifier makes of a set of images.

    Attributes:
        features: Shape (N, F).
        logits: Shape (N, classes).
        labels: The labels that were asked for (or, of real data, the true ones), shape (N,).
    """

    features: Tensor
    logits: Tensor
    labels: Tensor

    @classmethod
    def of(cls, parts: Sequence["Seen"]) -> "Seen":
        """What was seen in parts, as one."""
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in ("features", "logits", "labels")))


class Metric(ABC):
    """A number for a set of samples.

    Attributes:
        title: For axes and tables, with what it is measured in.
        better: Whether "lower" or "higher" is better.
    """

    title: str
    better: str

    @abstractmethod
    def __call__(self, samples: Seen, reference: Seen) -> float:
        """The metric of ``samples``; ``reference`` is the real data."""


@torch.no_grad()
def see(classifier: nn.Module, images: Tensor, labels: Tensor, batch_size: int = 512) -> Seen:
    """Show images, shape (N, C, H, W), to a classifier with ``features`` and ``classify``.

    Raises:
        ValueError: if an image holds a number that is not finite.
    """
    if not images.isfinite().all():
        broken = int((~images.isfinite().flatten(1).all(1)).sum())
        raise ValueError(f"{broken} of {len(images)} images hold infinite or NaN pixels; no metric is defined on them")
    device = next(classifier.parameters()).device
    features = torch.cat([classifier.features(batch.to(device)) for batch in images.split(batch_size)])
    return Seen(features, classifier.classify(features), labels.to(device))
