"""What networks have in common.

Generative ones take (x, t, cond) and own a null condition. Classifiers take x if they are of clean data, and (x, t) if
they are of noisy states. Autoencoders (``autoencoder.py``) take images to latents and back.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from ..registry import Registry
from .conditioning import Conditioning
from .encoded import Encoded

networks = Registry("network")


class Network(nn.Module):
    """A network called as ``network(x, t, cond)``, x (B, *), t () or (B,), cond labels (B,), encoded or not, or None.

    One may take embeddings (B, E) or sequences (B, L, C) in place of labels (``conditioning.py``).

    Attributes:
        num_classes: Number of labels; None if it takes none. The label ``num_classes`` means "no label".
        needs_condition: Whether it takes conditions and has none that means "none given": it then predicts under
            conditions only, as class-conditional networks that were trained without dropping labels do.
        extra_channels: Channels of an image that conditions hold (:class:`.ImageNetwork`); 0 for none.
        presets: Options by the names that they are published under, for ``flowguide list networks --verbose``.
    """

    num_classes: int | None = None
    needs_condition: bool = False
    extra_channels: int = 0
    presets: Mapping[str, Mapping[str, Any]] = MappingProxyType({})

    @property
    def is_told(self) -> bool:
        """Whether it takes conditions; beside an image, if it is shown one."""
        return self.needs_condition or self.null(1) is not None

    def null(self, batch: int) -> Tensor | None:
        """The condition that means "none given", one row per sample; None if the network takes no conditions."""
        if self.num_classes is None or self.needs_condition:
            return None
        return torch.full((batch,), self.num_classes, device=next(self.parameters()).device)

    def null_of(self, cond: Tensor) -> Tensor | None:
        """Conditions, one row per sample, with what guidance acts on made null: an image beside it stays."""
        return self.null(len(cond))

    def set_null(self, condition: Tensor) -> None:
        """Make ``condition``, an embedding (E,) or a sequence (L, C), the null one: that of the empty caption, say.

        It is a buffer, and so part of every checkpoint.
        """
        for part in self.modules():
            if isinstance(part, Conditioning) and part.shape:
                part.set_null(condition)
                return
        raise ValueError(
            f"a {type(self).__name__} that takes no embeddings or sequences learns what no condition means"
        )

    def encode(self, cond: Tensor | Encoded) -> Tensor | Encoded:
        """What of the conditions depends on neither x nor t: a sampling run computes it once and passes it for cond.

        What is encoded already stays as it is. A network that leaves this as it is meets the conditions themselves.
        """
        return cond

    @classmethod
    def options_for(cls, shape: Sequence[int], num_classes: int | None) -> dict[str, Any]:
        """The options that follow from the data: a recipe leaves them null and training fills them in.

        Args:
            shape: Of one sample, without the batch: (channels, height, width) for images.
            num_classes: Of the data set; None if it has no labels.
        """
        return {"num_classes": num_classes}


class Classifier(nn.Module, ABC):
    """A classifier of clean data, called as ``classifier(x)``: logits, and the features that they are computed from.

    Attributes:
        num_classes: Number of labels.
    """

    num_classes: int

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """Samples (B, *) to features (B, F)."""

    @abstractmethod
    def classify(self, features: Tensor) -> Tensor:
        """Features (B, F) to logits (B, num_classes)."""

    def forward(self, x: Tensor) -> Tensor:
        """Samples (B, *) to logits (B, num_classes)."""
        return self.classify(self.features(x))

    @classmethod
    def options_for(cls, shape: Sequence[int], num_classes: int | None) -> dict[str, Any]:
        """As for :class:`Network`."""
        return {"num_classes": num_classes}


class NoisyClassifier(nn.Module, ABC):
    """A classifier of noisy states, called as ``network(x, t)``, x (B, *), t () or (B,): logits, (B, num_classes).

    Attributes:
        num_classes: Number of labels.
    """

    num_classes: int

    @abstractmethod
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Logits of p(y | x, t), shape (B, num_classes)."""

    @classmethod
    def options_for(cls, shape: Sequence[int], num_classes: int | None) -> dict[str, Any]:
        """As for :class:`Network`."""
        return {"num_classes": num_classes}
