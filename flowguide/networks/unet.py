r"""A compact class-conditional U-Net in the manner of ADM.

Residual blocks at falling and then rising resolution, joined by skip connections; time and label enter every block by
adaptive group normalisation (AdaGN),

.. math:: \mathrm{AdaGN}(h, e) = (1 + e_s)\, \mathrm{GroupNorm}(h) + e_b, \qquad (e_s, e_b) = W \mathrm{silu}(e),

and self-attention runs at chosen resolutions. Output layers of all branches start at zero.

Source: Dhariwal & Nichol (2021), arXiv 2105.05233, section 3; Ho, Jain & Abbeel (2020), arXiv 2006.11239.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .base import Network, networks
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
        widths = _check(channels, width, multipliers, blocks, attention, head_width, dropout)
        self.channels = channels
        self.num_classes = num_classes
        self.shrinkage = 2 ** (len(widths) - 1)
        condition = 4 * width
        self.embed = ConditionEmbedding(width, condition, num_classes)

        def stage(inputs: int, outputs: int, level: int) -> Stage:
            heads = outputs // head_width if level in attention else 0
            return Stage(
                ResidualBlock(inputs, outputs, condition, dropout), Attention(outputs, heads) if heads else None
            )

        self.enter = nn.Conv2d(channels, width, 3, padding=1)
        self.down = nn.ModuleList()
        skips = [width]
        current = width
        for level, outputs in enumerate(widths):
            if level:
                self.down.append(nn.Conv2d(current, current, 3, stride=2, padding=1))
                skips.append(current)
            for _ in range(blocks):
                self.down.append(stage(current, outputs, level))
                skips.append(outputs)
                current = outputs
        lowest = len(widths) - 1
        self.middle = nn.ModuleList([stage(current, current, lowest), stage(current, current, -1)])
        self.up = nn.ModuleList()
        for level, outputs in reversed(list(enumerate(widths))):
            for _ in range(blocks + 1):
                self.up.append(stage(current + skips.pop(), outputs, level))
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

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        self._check_images(x)
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

    def _check_images(self, x: Tensor) -> None:
        if x.ndim != 4 or x.shape[1] != self.channels:
            raise ValueError(f"this unet takes images of shape (B, {self.channels}, H, W), not {tuple(x.shape)}")
        if any(size % self.shrinkage for size in x.shape[2:]):
            nearest = tuple(max(round(size / self.shrinkage), 1) * self.shrinkage for size in x.shape[2:])
            raise ValueError(
                f"this unet halves its images {self.shrinkage.bit_length() - 1} times, so height and width must be "
                f"multiples of {self.shrinkage}, not {tuple(x.shape[2:])}; the nearest is {nearest}"
            )


class Stage(nn.Module):
    """A residual block and, at some levels, attention after it."""

    def __init__(self, block: "ResidualBlock", attention: "Attention | None") -> None:
        super().__init__()
        self.block = block
        self.attention = attention

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        x = self.block(x, embedding)
        return x if self.attention is None else self.attention(x)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, the second after AdaGN, and a shortcut; ``embedding`` comes after its silu."""

    def __init__(self, inputs: int, outputs: int, condition: int, dropout: float) -> None:
        super().__init__()
        self.enter = nn.Sequential(group_norm(inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1))
        self.modulate = nn.Linear(condition, 2 * outputs)
        self.norm = group_norm(outputs)
        self.leave = nn.Sequential(nn.SiLU(), nn.Dropout(dropout), zero(nn.Conv2d(outputs, outputs, 3, padding=1)))
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.modulate(embedding)[..., None, None].chunk(2, dim=1)
        hidden = self.norm(self.enter(x)) * (1 + scale) + shift
        return self.shortcut(x) + self.leave(hidden)


class Attention(nn.Module):
    """Multi-head self-attention over all pixels, with a shortcut."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = group_norm(channels)
        self.project = nn.Conv2d(channels, 3 * channels, 1)
        self.leave = zero(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        # (B, 3C, H, W) -> three of (B, heads, H W, C / heads)
        projected = self.project(self.norm(x)).reshape(batch, 3, self.heads, channels // self.heads, height * width)
        query, key, value = projected.transpose(3, 4).unbind(1)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return x + self.leave(mixed.transpose(2, 3).reshape(x.shape))


class Upsample(nn.Module):
    """Twice the resolution: nearest neighbours, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(functional.interpolate(x, scale_factor=2, mode="nearest"))


def _check(
    channels: int,
    width: int,
    multipliers: Sequence[int],
    blocks: int,
    attention: Sequence[int],
    head_width: int,
    dropout: float,
) -> list[int]:
    """The width of each level; ValueError if the options do not make a network."""
    for name, value in (("channels", channels), ("width", width), ("blocks", blocks), ("head_width", head_width)):
        if value < 1:
            raise ValueError(f"a unet needs {name} >= 1, not {value}")
    if width % 4:
        raise ValueError(
            f"a unet's width must be a multiple of 4, not {width}; the nearest is {max(4, 4 * round(width / 4))}"
        )
    if not multipliers or min(multipliers) < 1:
        raise ValueError(f"a unet needs at least one multiplier, each at least 1, not {list(multipliers)}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout is a probability in [0, 1), not {dropout}")
    widths = [width * multiplier for multiplier in multipliers]
    for level in attention:
        if not 0 <= level < len(widths):
            raise ValueError(f"attention names level {level}, but this unet has levels 0 to {len(widths) - 1}")
        if widths[level] % head_width:
            raise ValueError(f"head_width {head_width} does not divide the {widths[level]} channels of level {level}")
    return widths
