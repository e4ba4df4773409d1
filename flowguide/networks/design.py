"""What the options of a network in the manner of ADM come to: the width of every level, and the layers of its way down.

The U-Net and the classifier that is its encoder half are both made from this.
"""

import math
from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from .blocks import Attention, CrossAttention, Order, ResidualBlock, Stage
from .layers import check_positive
from .resampling import Doubling, Striding

Resampling = Literal["convolution", "asymmetric", "pool", "residual"]


class Design:
    """The levels of such a network, from full resolution down, each but the first of half the resolution.

    Args:
        owner: Whose options they are, for messages: "unet".
        sequences: Whether attention is followed by attention to a sequence, of the embedding's width.
        All others: As for the network (:class:`.UNet`).
    Raises:
        ValueError: if the options do not make a network.

    Attributes:
        widths: Channels of each level, from full resolution down.
        stem: Channels of what enters the first block.
        condition: Width of the embedding of time and label.
        shrinkage: What height and width must be multiples of.
    """

    def __init__(
        self,
        owner: str,
        *,
        channels: int,
        width: int,
        multipliers: Sequence[int | float],
        blocks: int | Sequence[int],
        attention: Sequence[int],
        head_width: int,
        dropout: float,
        heads: int | None,
        attention_sizes: Sequence[int] | None,
        size: Sequence[int] | None,
        middle_attention: bool | None,
        attention_order: Order,
        scale_shift: bool,
        resampling: Resampling,
        groups: int | None,
        stem: int | None,
        rescale: bool,
        checkpointing: bool,
        epsilon: float = 1e-5,
        sequences: bool = False,
    ) -> None:
        sizes = {"channels": channels, "width": width, "head_width": head_width}
        optional = {"heads": heads, "groups": groups, "stem": stem}
        given = {name: value for name, value in optional.items() if value is not None}
        check_positive(f"a {owner}", {**sizes, **given})
        if width % 4:
            nearest = max(4, 4 * round(width / 4))
            raise ValueError(f"a {owner}'s width must be a multiple of 4, not {width}; the nearest is {nearest}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is a probability in [0, 1), not {dropout}")
        if not 0 < epsilon < 1:
            raise ValueError(f"epsilon is a small number that keeps variances from 0, as 1e-5, not {epsilon}")
        self.owner = owner
        self.channels = channels
        self.width = width
        self.widths = _widths(owner, width, multipliers)
        self.blocks = _blocks(owner, blocks, len(self.widths))
        self.stem = width if stem is None else stem
        self.condition = 4 * width
        self.shrinkage = 2 ** (len(self.widths) - 1)
        self.resampling = resampling
        self.checkpointing = checkpointing
        self.sequences = sequences
        self._heads = heads
        self._head_width = head_width
        self._block = {
            "scale_shift": scale_shift,
            "groups": groups,
            "rescale": rescale,
            "dropout": dropout,
            "epsilon": epsilon,
        }
        self._order = attention_order
        if attention_sizes is not None:
            attention = self._levels_of(attention_sizes, size)
        for level in attention:
            if not 0 <= level < len(self.widths):
                raise ValueError(
                    f"attention names level {level}, but this {owner} has levels 0 to {len(self.widths) - 1}"
                )
        lowest = len(self.widths) - 1
        self.attention = frozenset(attention)
        self.middle_attention = lowest in self.attention if middle_attention is None else middle_attention
        for level in sorted(self.attention | ({lowest} if self.middle_attention else set())):
            self.heads(self.widths[level], f"level {level}")
        for outputs in (*self.widths, self.stem) if groups else ():
            if outputs % groups:
                raise ValueError(
                    f"{groups} groups do not divide {outputs} channels of this {owner}; the most that do is "
                    f"{math.gcd(groups, *self.widths, self.stem)}"
                )

    def heads(self, channels: int, where: str) -> int:
        """How many heads attend over so many channels; ValueError if they cannot be shared out."""
        if self._heads is not None:
            if channels % self._heads:
                nearest = _nearest_divisor(channels, self._heads)
                raise ValueError(
                    f"{self._heads} heads do not divide the {channels} channels of {where}; the nearest is {nearest}"
                )
            return self._heads
        if channels % self._head_width:
            nearest = _nearest_divisor(channels, self._head_width)
            raise ValueError(
                f"head_width {self._head_width} does not divide the {channels} channels of {where}; the nearest is "
                f"{nearest}"
            )
        return channels // self._head_width

    def stage(self, inputs: int, outputs: int, attention: bool) -> Stage:
        """A residual block, with attention after it or without."""
        block = ResidualBlock(inputs, outputs, self.condition, **self._block)
        if not attention:
            return Stage(block, None, checkpointing=self.checkpointing)
        heads = self.heads(outputs, "a level")
        options = {name: self._block[name] for name in ("groups", "rescale", "epsilon")}
        attend = Attention(outputs, heads, self._order, **options)
        cross = CrossAttention(outputs, self.condition, heads, **options) if self.sequences else None
        return Stage(block, attend, cross, self.checkpointing)

    def resampler(self, channels: int, direction: Literal["up", "down"]) -> nn.Module:
        """What changes the resolution between two levels."""
        if self.resampling == "residual":
            block = ResidualBlock(channels, channels, self.condition, resample=direction, **self._block)
            return Stage(block, None, checkpointing=self.checkpointing)
        if direction == "up":
            return nn.Upsample(scale_factor=2) if self.resampling == "pool" else Upsample(channels)
        if self.resampling == "pool":
            return nn.AvgPool2d(2)
        if self.resampling == "asymmetric":
            return Striding(channels, channels)
        return nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def descent(self) -> tuple[nn.ModuleList, list[int]]:
        """The layers from full to lowest resolution; the channels of what goes in and of what each layer puts out."""
        down = nn.ModuleList()
        channels = [self.stem]
        for level, outputs in enumerate(self.widths):
            if level:
                down.append(self.resampler(channels[-1], "down"))
                channels.append(channels[-1])
            for _ in range(self.blocks[level]):
                down.append(self.stage(channels[-1], outputs, level in self.attention))
                channels.append(outputs)
        return down, channels

    def middle(self) -> nn.ModuleList:
        """Two stages at the lowest resolution, the first with attention if the middle has it."""
        outputs = self.widths[-1]
        return nn.ModuleList([self.stage(outputs, outputs, self.middle_attention), self.stage(outputs, outputs, False)])

    def ascent(self, skips: list[int]) -> nn.ModuleList:
        """The layers back to full resolution; stages that do not resample take the skips, last first."""
        up, skips = nn.ModuleList(), list(skips)
        current = self.widths[-1]
        for level, outputs in reversed(list(enumerate(self.widths))):
            for _ in range(self.blocks[level] + 1):
                up.append(self.stage(current + skips.pop(), outputs, level in self.attention))
                current = outputs
            if level:
                up.append(self.resampler(current, "up"))
        return up

    def check_images(self, x: Tensor) -> None:
        """ValueError unless ``x`` is a batch of images that such a network takes."""
        if x.ndim != 4 or x.shape[1] != self.channels:
            raise ValueError(
                f"this {self.owner} takes images of shape (B, {self.channels}, H, W), not {tuple(x.shape)}"
            )
        self.check_size(x.shape[2:])

    def check_size(self, size: Sequence[int]) -> None:
        """ValueError unless (height, width) can be halved as often as this network does."""
        if any(side % self.shrinkage or side < 1 for side in size):
            nearest = tuple(max(round(side / self.shrinkage), 1) * self.shrinkage for side in size)
            raise ValueError(
                f"this {self.owner} halves its images {len(self.widths) - 1} times, so height and width must be "
                f"multiples of {self.shrinkage}, not {tuple(size)}; the nearest is {nearest}"
            )

    def _levels_of(self, heights: Sequence[int], size: Sequence[int] | None) -> list[int]:
        """The levels at which the images are so many pixels high."""
        if size is None:
            raise ValueError(
                f"attention_sizes are heights in pixels, so this {self.owner} needs the size of its images, "
                f"[height, width], too; or name levels, attention=[...]"
            )
        at = [size[0] // 2**level for level in range(len(self.widths))]
        for height in heights:
            if height not in at:
                nearest = min(at, key=lambda each: abs(each - height))
                raise ValueError(
                    f"attention_sizes names {height} pixels, but images {size[0]} high are {', '.join(map(str, at))} "
                    f"at the levels of this {self.owner}; the nearest is {nearest}"
                )
        return [at.index(height) for height in heights]


class Upsample(nn.Module):
    """Twice the resolution: nearest neighbours, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = Doubling(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(x)


def _widths(owner: str, width: int, multipliers: Sequence[int | float]) -> list[int]:
    if not multipliers or min(multipliers) <= 0:
        raise ValueError(f"a {owner} needs at least one multiplier, each positive, not {list(multipliers)}")
    for multiplier in multipliers:
        if abs(width * multiplier - round(width * multiplier)) > 1e-6:  # beyond rounding, as of 116 / 28
            nearest = max(1, round(width * multiplier)) / width
            raise ValueError(
                f"a {owner}'s multipliers must make whole channels of its width, and {multiplier} of {width} is "
                f"{width * multiplier:g}; the nearest is {nearest:g}"
            )
    return [round(width * multiplier) for multiplier in multipliers]


def _blocks(owner: str, blocks: int | Sequence[int], levels: int) -> list[int]:
    each = [blocks] * levels if isinstance(blocks, int) else list(blocks)
    if len(each) != levels:
        raise ValueError(f"a {owner} with {levels} levels needs {levels} numbers of blocks, or one, not {each}")
    check_positive(f"a {owner}", {"blocks": min(each)})
    return each


def _nearest_divisor(number: int, wanted: int) -> int:
    return min((d for d in range(1, number + 1) if number % d == 0), key=lambda d: abs(d - wanted))
