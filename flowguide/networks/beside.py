r"""Networks of images that may be shown another image, beside the state: a smaller one to enlarge, say.

.. math:: \mathrm{network}(x, t, (c, y)) = f\big([x, \mathrm{resize}(c)],\ t,\ y\big)

The image c is part of the condition, beside the label y, and enters as further channels of the state; whatever is
done to labels leaves it as it is.

Source: Saharia et al. (2021), arXiv 2104.07636, section 2.2; Ho et al. (2021), arXiv 2106.15282, section 3.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn import functional

from .base import Network
from .conditioning import Conditioning
from .encoded import Encoded
from .joined import joined


class ImageNetwork(Network, ABC):
    """A network of images whose conditions are labels, embeddings or sequences, or an image with labels or without.

    A subclass makes its first layer for ``extra_channels`` more than the state has, has its ``conditioning``, and calls
    :meth:`told`.

    Args:
        owner: What it is called in messages: "unet".
        num_classes: Number of labels; None for none.
        null_label: Whether there is a label that means "none".
        extra_channels: Of the image; 0 for none.
        others: Whether it takes conditions that are no labels.
    Raises:
        ValueError: if ``extra_channels`` is negative, or given with conditions that are no labels.

    Attributes:
        labels: Number of the labels that conditions hold, beside an image or alone; None if they hold none.
    """

    def __init__(
        self, owner: str, num_classes: int | None, null_label: bool, extra_channels: int = 0, others: bool = False
    ) -> None:
        super().__init__()
        if extra_channels < 0:
            raise ValueError(f"a {owner} needs extra_channels >= 0, not {extra_channels}")
        if extra_channels and others:
            raise ValueError(
                f"a {owner} joins an image with labels: leave out extra_channels, or embedding and sequence"
            )
        self.owner = owner
        self.labels = num_classes
        self.extra_channels = extra_channels
        # With an image in it, a condition is no label to whoever looks at one.
        self.num_classes = None if extra_channels else num_classes
        self.needs_condition = extra_channels > 0 or (num_classes is not None and not null_label)

    @property
    @abstractmethod
    def conditioning(self) -> Conditioning:
        """Of what conditions hold beside the image."""

    def null(self, batch: int) -> Tensor | None:
        return None if self.needs_condition else self.conditioning.null(batch)

    def null_of(self, cond: Tensor) -> Tensor | None:
        none = self.conditioning.null(len(cond))
        return none if none is None or not self.extra_channels else joined(cond[:, : self.extra_channels], none)

    def join(self, image: Tensor, labels: Tensor | None = None) -> Tensor:
        """The condition of a network with ``extra_channels``: an image, and labels if it takes them, as one tensor.

        One tensor with a row per sample is what samplers cut into batches, rules put together and objectives drop, so
        that the image goes wherever the label goes. The label is one more channel of it.

        Args:
            image: Shape (B, extra_channels, h, w), of any size: it is enlarged to the state's, bilinearly.
            labels: Shape (B,), or None if the network takes none.
        Returns:
            Shape (B, extra_channels + 1, h, w), or as the image if there are no labels.
        Raises:
            ValueError: if the network takes no image, another one, or labels are missing, too many or none of its own.
        """
        if image.ndim != 4 or image.shape[1] != self.extra_channels or not self.extra_channels:
            takes = f"an image of shape (B, {self.extra_channels}, h, w)" if self.extra_channels else "no image"
            raise ValueError(f"this {self.owner} takes {takes} in its condition, not {tuple(image.shape)}")
        if (labels is None) != (self.labels is None):
            takes = "no labels" if self.labels is None else f"labels of {self.labels} classes"
            given = "none were" if labels is None else "some were"
            raise ValueError(f"this {self.owner} takes {takes} with its image, and {given} given")
        if labels is None:
            return joined(image)
        last = self.labels - 1 + self.conditioning.null_label
        whole = labels.shape == image.shape[:1] and not labels.is_floating_point()
        if not whole or not 0 <= labels.min() <= labels.max() <= last:
            raise ValueError(
                f"labels must be {len(image)} integers from 0 to {last}, one per image, not {labels!r:.80}"
            )
        return joined(image, labels)

    def encode(self, cond: Tensor | Encoded) -> Tensor | Encoded:
        if isinstance(cond, Encoded) or not self.extra_channels:
            return cond if isinstance(cond, Encoded) else self.conditioning.encode(cond)
        expected = self.extra_channels + (self.labels is not None)
        if cond.ndim != 4 or cond.shape[1] != expected:
            raise ValueError(
                f"this {self.owner}'s condition is an image of {expected} channels (see join), not of shape "
                f"{tuple(cond.shape)}"
            )
        image = cond[:, : self.extra_channels]
        if self.labels is None:
            return Encoded([image])
        return Encoded([*self.conditioning.encode(cond[:, -1, 0, 0].round().long()), image])

    def told(self, x: Tensor, cond: Tensor | Encoded | None) -> tuple[Tensor, Encoded | None]:
        """The state, with the image of its condition beside it if there is one, and the rest of the condition, encoded.

        No condition means the null one; None is left of it where the network takes none.

        Raises:
            ValueError: if there is no condition and none that means "none".
        """
        cond = self.null(len(x)) if cond is None else cond
        if cond is None:
            if self.needs_condition:
                raise ValueError(
                    f"this {self.owner} has no null condition, so it predicts nothing without one: pass cond"
                )
            return x, None
        cond = self.encode(cond)
        if not self.extra_channels:
            return x, cond
        *rest, image = cond
        beside = functional.interpolate(image.to(x), x.shape[2:], mode="bilinear")
        return torch.cat([x, beside], dim=1), Encoded(rest)
