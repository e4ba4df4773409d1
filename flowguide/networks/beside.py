r"""Networks of images that may be shown another image, beside the state: a smaller one to enlarge, say.

.. math:: \mathrm{network}(x, t, (c, y)) = f\big([x, \mathrm{resize}(c)],\ t,\ y\big)

The image c is part of the condition, beside y, which is a label, an embedding or a sequence, and enters as further
channels of the state; whatever is done to y leaves it as it is.

Source: Saharia et al. (2021), arXiv 2104.07636, section 2.2; Ho et al. (2021), arXiv 2106.15282, section 3; with text
for y, Saharia et al. (2022), arXiv 2205.11487, section 2.3.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn import functional

from .base import Network
from .conditioning import Conditioning
from .encoded import Encoded
from .joined import apart, channels_for, joined


class ImageNetwork(Network, ABC):
    """A network of images whose conditions are labels, embeddings or sequences, or an image with one of these or none.

    A subclass makes its first layer for ``extra_channels`` more than the state has, has its ``conditioning``, and calls
    :meth:`told`.

    Args:
        owner: What it is called in messages: "unet".
        num_classes: Number of labels; None for none.
        null_label: Whether there is a label that means "none".
        extra_channels: Of the image; 0 for none.
    Raises:
        ValueError: if ``extra_channels`` is negative.

    Attributes:
        labels: Number of the labels that conditions hold, beside an image or alone; None if they hold none.
    """

    def __init__(self, owner: str, num_classes: int | None, null_label: bool, extra_channels: int = 0) -> None:
        super().__init__()
        if extra_channels < 0:
            raise ValueError(f"a {owner} needs extra_channels >= 0, not {extra_channels}")
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

    @property
    def is_told(self) -> bool:
        return self.conditioning.kind is not None

    def null(self, batch: int) -> Tensor | None:
        return None if self.needs_condition else self.conditioning.null(batch)

    def null_of(self, cond: Tensor) -> Tensor | None:
        none = self.conditioning.null(len(cond))
        return none if none is None or not self.extra_channels else joined(cond[:, : self.extra_channels], none)

    def join(self, image: Tensor, rest: Tensor | None = None) -> Tensor:
        """The condition of a network with ``extra_channels``: an image, and what else it is told, as one tensor.

        Args:
            image: Shape (B, extra_channels, h, w), of any size: it is enlarged to the state's, bilinearly.
            rest: Labels (B,), embeddings (B, E) or sequences (B, L, C); None if the network is told nothing else.
        Returns:
            Shape (B, extra_channels + m, h, w), with one more channel for labels, none if there is nothing else, and
            otherwise as many as hold the rest (:func:`.joined`).
        Raises:
            ValueError: if the network takes no image, another one, or the rest is missing, too much or of another kind.
        """
        if image.ndim != 4 or image.shape[1] != self.extra_channels or not self.extra_channels:
            takes = f"an image of shape (B, {self.extra_channels}, h, w)" if self.extra_channels else "no image"
            raise ValueError(f"this {self.owner} takes {takes} in its condition, not {tuple(image.shape)}")
        if (rest is None) == self.is_told:
            takes = "no labels" if not self.is_told else self.conditioning.kind
            takes += f" of {self.labels} classes" if self.labels is not None else ""
            given = "none were" if rest is None else "some were"
            raise ValueError(f"this {self.owner} takes {takes} with its image, and {given} given")
        if rest is not None:
            self._check_rest(rest, len(image))
        return joined(image, rest)

    def _check_rest(self, rest: Tensor, batch: int) -> None:
        """ValueError unless it is what the network is told beside the image, a row per image."""
        if self.labels is None:
            self.conditioning.check(rest)
            if len(rest) != batch:
                raise ValueError(f"there are {batch} images, and {self.conditioning.kind} for {len(rest)} samples")
            return
        last = self.labels - 1 + self.conditioning.null_label
        whole = rest.shape == (batch,) and not rest.is_floating_point()
        if not whole or not 0 <= rest.min() <= rest.max() <= last:
            raise ValueError(f"labels must be {batch} integers from 0 to {last}, one per image, not {rest!r:.80}")

    def encode(self, cond: Tensor | Encoded) -> Tensor | Encoded:
        if isinstance(cond, Encoded):
            return cond
        if not self.extra_channels:
            return self.encode_rest(cond)
        row = self.conditioning.shape if self.is_told else None
        expected = self.extra_channels
        if row is not None:
            expected += channels_for(row, cond.shape) if cond.ndim == 4 else 1
        if cond.ndim != 4 or cond.shape[1] != expected:
            raise ValueError(
                f"this {self.owner}'s condition is an image of {expected} channels (see join), not of shape "
                f"{tuple(cond.shape)}"
            )
        image, rest = apart(cond, self.extra_channels, row)
        if rest is None:
            return Encoded([image])
        # As they were before they were joined, in the image's type: integers, or numbers of the network's own type.
        rest = rest.round().long() if self.labels is not None else rest.to(self.conditioning.absent)
        return Encoded([*self.encode_rest(rest), image])

    def encode_rest(self, rest: Tensor) -> Encoded:
        """What of the conditions beside the image depends on neither x nor t."""
        return self.conditioning.encode(rest)

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
