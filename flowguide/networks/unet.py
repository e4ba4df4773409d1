r"""A compact class-conditional U-Net in the manner of ADM.

Residual blocks (:mod:`flowguide.networks.blocks`) at falling and then rising resolution, joined by skip connections,

.. math:: h_{i+1} = \mathrm{down}_i(h_i, e), \qquad g_{i} = \mathrm{up}_i([g_{i+1}, h_i], e),

where e is the embedding of time and label.

Source: Dhariwal & Nichol (2021), arXiv 2105.05233, section 3; Ho, Jain & Abbeel (2020), arXiv 2006.11239.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .base import Network, networks
from .blocks import Stage
from .design import Design
from .encoded import Encoded
from .layers import ConditionEmbedding, group_norm, zero


@networks.register("unet")
class UNet(Network):
    """U-Net with AdaGN and attention, for images of 8x8 pixels and more.

    Args:
        channels: Image channels.
        num_classes: Number of labels, or null for none.
        width: Channels at full resolution.
        multipliers: Width of each level over ``width``; every level but the first halves the resolution.
        blocks: Residual blocks per level.
        attention: Levels (0 = full resolution) with self-attention.
        head_width: Channels per attention head.
        dropout: Dropout probability in the residual blocks.
    """

    def __init__(
        self,
        channels: int,
        num_classes: int | None = None,
        width: int = 64,
        multipliers: Sequence[int] = (1, 2, 2),
        blocks: int = 2,
        attention: Sequence[int] = (1, 2),
        head_width: int = 32,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.design = design = Design("unet", channels, width, multipliers, blocks, attention, head_width, dropout)
        self.embed = ConditionEmbedding(width, design.condition, num_classes)
        self.enter = nn.Conv2d(channels, width, 3, padding=1)
        self.down, skips = design.descent()
        self.middle = design.middle()
        self.up = nn.ModuleList()
        current = design.widths[-1]
        for level, outputs in reversed(list(enumerate(design.widths))):
            for _ in range(blocks + 1):
                self.up.append(design.stage(current + skips.pop(), outputs, level))
                current = outputs
            if level:
                self.up.append(Upsample(current))
        self.leave = nn.Sequential(group_norm(current), nn.SiLU(), zero(nn.Conv2d(current, channels, 3, padding=1)))
        # Convolutions on CPU and on GPU tensor cores are fastest with the channels innermost.
        self.to(memory_format=torch.channels_last)

    @classmethod
    def options_for(cls, shape: Sequence[int], num_classes: int | None) -> dict[str, Any]:
        if len(shape) != 3:
            raise ValueError(
                f"a unet takes images, shape (channels, height, width), not samples of shape {tuple(shape)}"
            )
        return {"channels": shape[0], "num_classes": num_classes}

    def encode(self, cond: Tensor | Encoded) -> Tensor | Encoded:
        return self.embed.encode(cond)

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | Encoded | None = None) -> Tensor:
        self.design.check_images(x)
        embedding = functional.silu(self.embed(t, self.null(len(x)) if cond is None else cond))
        hidden = self.enter(x)
        skips = [hidden]
        for layer in self.down:
            hidden = layer(hidden, embedding) if isinstance(layer, Stage) else layer(hidden)
            skips.append(hidden)
        for layer in self.middle:
            hidden = layer(hidden, embedding)
        for layer in self.up:
            if isinstance(layer, Stage):
                hidden = layer(torch.cat([hidden, skips.pop()], dim=1), embedding)
            else:
                hidden = layer(hidden)
        return self.leave(hidden)


class Upsample(nn.Module):
    """Twice the resolution: nearest neighbours, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(functional.interpolate(x, scale_factor=2, mode="nearest"))
