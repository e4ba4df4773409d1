r"""DDPM++, the U-Net of score-based models of small images.

Residual blocks (:mod:`flowguide.networks.blocks`) at falling and then rising resolution, joined by skip connections.
What tells it from the U-Net of ADM:

==============================  =====================================================================
the embedding                   :math:`e = \mathrm{mlp}(\mathrm{features}(t) + \mathrm{embed}(y))`: the label is added
                                to the features of time, before the perceptron, and e to the hidden pixels
sums with shortcuts             divided by the root of 2
up and down                     by residual blocks, whose shortcut is a 1x1 convolution too
attention                       after every block of its levels on the way down, in the middle, and after the
                                last block of its levels on the way up; one head
features of time                frequencies down to 1/10000 itself
==============================  =====================================================================

Source: Song et al. (2021), arXiv 2011.13456, appendix H; with labels, and in these settings, Karras et al. (2022),
arXiv 2206.00364, appendix F.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .base import networks
from .beside import ImageNetwork
from .blocks import Attention, ResidualBlock, Stage
from .conditioning import Conditioning
from .embedding import TimeFeatures
from .encoded import Encoded
from .layers import SiLU, check_positive, group_norm, zero

_EPSILON = 1e-6  # of group normalisation


@networks.register("ddpmpp")
class DDPMPP(ImageNetwork):
    """DDPM++, for images of 8x8 pixels and more.

    Args:
        channels: Image channels.
        num_classes: Number of labels, or null for none.
        width: Channels at full resolution, before the blocks.
        multipliers: Width of each level over ``width``; every level but the first halves the resolution.
        blocks: Residual blocks per level on the way down; there is one more on the way up.
        attention: Levels (0 = full resolution) with self-attention.
        dropout: Dropout probability in the residual blocks.
        heads: Of attention, at every level.
        checkpointing: Keep less for the backward pass, and compute it again.
        time_scale: What the time features multiply t by: 1000 for t in [0, 1]; 1 for what published ones are told.
        null_label: Whether there is a label that means "none"; if not, it cannot be evaluated without labels.
        extra_channels: Channels of an image beside the state, which is part of the condition (:meth:`.join`).
    Raises:
        ValueError: if the options do not make a network.
    """

    def __init__(
        self,
        channels: int,
        num_classes: int | None = None,
        width: int = 64,
        multipliers: Sequence[int] = (1, 2, 2),
        blocks: int = 2,
        attention: Sequence[int] = (1,),
        dropout: float = 0.0,
        heads: int = 1,
        checkpointing: bool = False,
        time_scale: float = 1000.0,
        null_label: bool = True,
        extra_channels: int = 0,
    ) -> None:
        super().__init__("ddpmpp", num_classes, null_label, extra_channels)
        check_positive("a ddpmpp", {"channels": channels, "width": width, "blocks": blocks, "heads": heads})
        _check(width, multipliers, attention, dropout, heads)
        self.channels = channels
        self.widths = [width * multiplier for multiplier in multipliers]
        self._heads, self._dropout, self._checkpointing = heads, dropout, checkpointing
        self._condition = 4 * width
        self.time = TimeFeatures(width, time_scale, closed=True)
        self.label = Conditioning("ddpmpp", width, num_classes, null_label=null_label)
        hidden = self._condition
        self.embed = nn.Sequential(nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU())
        self.enter = nn.Conv2d(channels + extra_channels, width, 3, padding=1)
        self.down, skips, current = nn.ModuleList(), [width], width
        for level, outputs in enumerate(self.widths):
            if level:
                self.down.append(self._stage(current, current, resample="down"))
                skips.append(current)
            for _ in range(blocks):
                self.down.append(self._stage(current, outputs, level in attention))
                skips.append(outputs)
                current = outputs
        self.middle = nn.ModuleList([self._stage(current, current, attends) for attends in (True, False)])
        self.up = nn.ModuleList()
        for level, outputs in reversed(list(enumerate(self.widths))):
            for n in range(blocks + 1):
                self.up.append(self._stage(current + skips.pop(), outputs, n == blocks and level in attention))
                current = outputs
            if level:
                self.up.append(self._stage(current, current, resample="up"))
        last = zero(nn.Conv2d(current, channels, 3, padding=1))
        self.leave = nn.Sequential(group_norm(current, epsilon=_EPSILON), SiLU(), last)
        self.to(memory_format=torch.channels_last)

    def _stage(self, inputs: int, outputs: int, attention: bool = False, resample: Any = None) -> Stage:
        options = {"rescale": True, "epsilon": _EPSILON}
        more = {"scale_shift": False, "resample": resample, "project": True}
        block = ResidualBlock(inputs, outputs, self._condition, self._dropout, **more, **options)
        attend = Attention(outputs, self._heads, **options) if attention else None
        return Stage(block, attend, checkpointing=self._checkpointing)

    @classmethod
    def options_for(cls, shape: Sequence[int], num_classes: int | None) -> dict[str, Any]:
        if len(shape) != 3:
            raise ValueError(
                f"a ddpmpp takes images, shape (channels, height, width), not samples of shape {tuple(shape)}"
            )
        return {"channels": shape[0], "num_classes": num_classes}

    @property
    def conditioning(self) -> Conditioning:
        return self.label

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | Encoded | None = None) -> Tensor:
        self._check_images(x)
        x, cond = self.told(x, cond)
        features = self.time(t.reshape(-1))
        embedding = self.embed(features + cond[0] if cond else features)
        hidden = self.enter(x)
        skips = [hidden]
        for layer in self.down:
            hidden = layer(hidden, embedding)
            skips.append(hidden)
        for layer in self.middle:
            hidden = layer(hidden, embedding)
        for layer in self.up:
            joined = hidden if layer.block.resample else torch.cat([hidden, skips.pop()], dim=1)
            hidden = layer(joined, embedding)
        return self.leave(hidden)

    def _check_images(self, x: Tensor) -> None:
        if x.ndim != 4 or x.shape[1] != self.channels:
            raise ValueError(f"this ddpmpp takes images of shape (B, {self.channels}, H, W), not {tuple(x.shape)}")
        shrinkage = 2 ** (len(self.widths) - 1)
        if any(side % shrinkage or side < 1 for side in x.shape[2:]):
            raise ValueError(
                f"this ddpmpp halves its images {len(self.widths) - 1} times, so height and width must be multiples of "
                f"{shrinkage}, not {tuple(x.shape[2:])}"
            )


def _check(width: int, multipliers: Sequence[int], attention: Sequence[int], dropout: float, heads: int) -> None:
    """ValueError unless these make a network."""
    if width % 4:
        nearest = max(4, 4 * round(width / 4))
        raise ValueError(f"a ddpmpp's width must be a multiple of 4, not {width}; the nearest is {nearest}")
    if not multipliers or min(multipliers) < 1:
        raise ValueError(f"a ddpmpp needs at least one multiplier, each 1 or more, not {list(multipliers)}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout is a probability in [0, 1), not {dropout}")
    for level in attention:
        if not 0 <= level < len(multipliers):
            raise ValueError(f"attention names level {level}, but this ddpmpp has levels 0 to {len(multipliers) - 1}")
    if any(width * multiplier % heads for multiplier in multipliers):
        raise ValueError(
            f"{heads} heads do not divide the channels of every level, {width} times {list(multipliers)}; the most "
            f"that do is {math.gcd(width, heads)}"
        )
