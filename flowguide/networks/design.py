"""What the options of a network in the manner of ADM come to: the width of every level, and the layers of its way down.

The U-Net and the classifier that is its encoder half are both made from this.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from .blocks import Attention, ResidualBlock, Stage
from .layers import check_positive


class Design:
    """The levels of such a network, from full resolution down, each but the first of half the resolution.

    Args:
        owner: Whose options they are, for messages: "unet".
        channels, width, multipliers, blocks, attention, head_width, dropout: As for the network.
    Raises:
        ValueError: if the options do not make a network.

    Attributes:
        widths: Channels of each level, from full resolution down.
        condition: Width of the embedding of time and label.
        shrinkage: What height and width must be multiples of.
    """

    def __init__(
        self,
        owner: str,
        channels: int,
        width: int,
        multipliers: Sequence[int],
        blocks: int,
        attention: Sequence[int],
        head_width: int,
        dropout: float,
    ) -> None:
        sizes = {"channels": channels, "width": width, "blocks": blocks, "head_width": head_width}
        check_positive(f"a {owner}", sizes)
        if width % 4:
            nearest = max(4, 4 * round(width / 4))
            raise ValueError(f"a {owner}'s width must be a multiple of 4, not {width}; the nearest is {nearest}")
        if not multipliers or min(multipliers) < 1:
            raise ValueError(f"a {owner} needs at least one multiplier, each at least 1, not {list(multipliers)}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is a probability in [0, 1), not {dropout}")
        widths = [width * multiplier for multiplier in multipliers]
        for level in attention:
            if not 0 <= level < len(widths):
                raise ValueError(f"attention names level {level}, but this {owner} has levels 0 to {len(widths) - 1}")
            if widths[level] % head_width:
                raise ValueError(
                    f"head_width {head_width} does not divide the {widths[level]} channels of level {level}"
                )
        self.owner = owner
        self.channels = channels
        self.width = width
        self.widths = widths
        self.blocks = blocks
        self.attention = attention
        self.head_width = head_width
        self.dropout = dropout
        self.condition = 4 * width
        self.shrinkage = 2 ** (len(widths) - 1)

    def stage(self, inputs: int, outputs: int, level: int) -> Stage:
        """A residual block, with attention if the level has it."""
        heads = outputs // self.head_width if level in self.attention else 0
        block = ResidualBlock(inputs, outputs, self.condition, self.dropout)
        return Stage(block, Attention(outputs, heads) if heads else None)

    def descent(self) -> tuple[nn.ModuleList, list[int]]:
        """The layers from full to lowest resolution; the channels of what goes in and of what each layer puts out."""
        down = nn.ModuleList()
        channels = [self.width]
        for level, outputs in enumerate(self.widths):
            if level:
                down.append(nn.Conv2d(channels[-1], channels[-1], 3, stride=2, padding=1))
                channels.append(channels[-1])
            for _ in range(self.blocks):
                down.append(self.stage(channels[-1], outputs, level))
                channels.append(outputs)
        return down, channels

    def middle(self) -> nn.ModuleList:
        """Two stages at the lowest resolution, the first with attention if that level has it."""
        lowest, outputs = len(self.widths) - 1, self.widths[-1]
        return nn.ModuleList([self.stage(outputs, outputs, lowest), self.stage(outputs, outputs, -1)])

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
