"""What every metric has in common: it compares what is seen in samples with what is seen in real data."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..registry import Registry

metrics = Registry("metric")


@dataclass(frozen=True)
class Seen:
    """What features make of a set of samples.

    Attributes:
        features: Shape (N, F).
        logits: Shape (N, classes); None if the features are not those of a classifier.
        labels: The labels that were asked for (or, of real data, the true ones), shape (N,); None if there are none.
        bits: Of samples of a model: bits per dimension of held-out data under it, shape (M,); None if not computed.
        held_out: Of training data: what is seen of real data that are not among them; None if it is not known.
    """

    features: Tensor
    logits: Tensor | None = None
    labels: Tensor | None = None
    bits: Tensor | None = None
    held_out: "Seen | None" = None

    def __len__(self) -> int:
        return len(self.features)

    @classmethod
    def of(cls, parts: Sequence["Seen"]) -> "Seen":
        """What was seen in parts, as one."""

        def joined(name: str) -> Tensor | None:
            tensors = [getattr(part, name) for part in parts]
            return None if any(each is None for each in tensors) else torch.cat(tensors)

        return cls(joined("features"), joined("logits"), joined("labels"))


class Metric(ABC):
    """A number for a set of samples.

    Attributes:
        title: For axes and tables, with what it is measured in.
        better: Whether "lower" or "higher" is better.
        needs: What of :class:`Seen` it uses of the samples beside their features: "logits", "labels", "bits".
    """

    title: str
    better: str
    needs: tuple[str, ...] = ()

    @abstractmethod
    def __call__(self, samples: Seen, reference: Seen) -> float:
        """The metric of ``samples``; ``reference`` is the real data."""

    def check(self, samples: Seen, reference: Seen) -> None:
        """ValueError if samples and reference were not seen alike, lack what the metric needs, or are not finite."""
        for name in self.needs:
            if getattr(samples, name) is None:
                raise ValueError(f"{type(self).__name__} needs the {name} of the samples, and they have none")
        ours, theirs = samples.features.shape[1], reference.features.shape[1]
        if ours != theirs:
            raise ValueError(
                f"the samples have {ours} features and the reference {theirs}: both must be seen by the same features, "
                f"at the same resolution"
            )
        for name in ("features", *self.needs):
            _check_numbers(getattr(samples, name), f"{name} of", "samples")
        _check_numbers(reference.features, "features of", "reference samples")
        if reference.held_out is not None:
            _check_numbers(reference.held_out.features, "features of", "held-out data")


def check_finite(images: Tensor) -> None:
    """ValueError if a sample, shape (N, *), holds a number that is not finite."""
    if not images.isfinite().all():
        broken = int((~images.isfinite().flatten(1).all(1)).sum())
        what = ("images", "pixels") if images.ndim == 4 else ("samples", "numbers")
        raise ValueError(
            f"{broken} of {len(images)} {what[0]} hold infinite or NaN {what[1]}; no metric is defined on them"
        )


def _check_numbers(numbers: Tensor, what: str, whose: str) -> None:
    """ValueError if what was seen of samples, shape (N, *), is not finite."""
    if (finite := numbers.isfinite()).all():
        return
    broken = int((~finite.reshape(len(numbers), -1).all(1)).sum())
    raise ValueError(f"the {what} {broken} of {len(numbers)} {whose} are infinite or NaN; no metric is defined on them")


@torch.no_grad()
def see(classifier: nn.Module, images: Tensor, labels: Tensor | None, batch_size: int = 512) -> Seen:
    """Show images, (N, C, H, W), with labels, (N,), or without, to a classifier with ``features`` and ``classify``.

    Raises:
        ValueError: if an image holds a number that is not finite.
    """
    check_finite(images)
    device = next(classifier.parameters()).device
    features = torch.cat([classifier.features(batch.to(device)) for batch in images.split(batch_size)])
    return Seen(features, classifier.classify(features), None if labels is None else labels.to(device))
