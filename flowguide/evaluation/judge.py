"""The classifier in whose features metrics are computed: trained on the data set at hand, once, and kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..metrics import Seen
from .features import Setting, registry
from .features.classifier import accuracy
from .reference import reference_of


@dataclass(frozen=True)
class Judge:
    """The classifier that metrics are computed with, and what it saw in the real data.

    Attributes:
        classifier: With ``features`` and ``classify``.
        features: Whose features these are, for captions.
        accuracy: On the held-out data.
        train, test: The real data through its eyes.
    """

    classifier: nn.Module
    features: str
    accuracy: float
    train: Seen
    test: Seen


def judge_for(data: Mapping[str, Any], classifier: Mapping[str, Any], device: str = "auto", show: bool = True) -> Judge:
    """The classifier of a data set: from the cache, or trained now.

    Args:
        data: The data node of a configuration.
        classifier: Its network, objective, training and seed nodes.
        device: Where to train and use it.
        show: Show a progress bar.
    """
    features = registry.build("classifier", Setting.of(data, classifier, device, show))
    real = reference_of(features)
    return Judge(features.network, real.caption, accuracy(real.test), real.train, real.test)
