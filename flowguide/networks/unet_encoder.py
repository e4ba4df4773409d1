r"""A classifier of noisy images: the encoder half of the U-Net, and attention that pools its pixels.

With hidden pixels :math:`h_1, \dots, h_n` at the lowest resolution, learned positions :math:`p_i` and the mean
:math:`h_0 = \frac1n \sum_i h_i`, the pooled features are the mean's answer from all the others,

.. math:: \mathrm{pool}(h) = W_o \sum_{i=0}^n \mathrm{softmax}_i\!\left( \frac{q^\top k_i}{\sqrt{d}} \right) v_i, \qquad
    q = W_q (h_0 + p_0), \quad k_i = W_k (h_i + p_i), \quad v_i = W_v (h_i + p_i),

in every head.

Source: Dhariwal & Nichol (2021), arXiv 2105.05233, section 4.3; the pool is that of Radford et al. (2021),
arXiv 2103.00020, section 2.4.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .base import NoisyClassifier, networks
from .blocks import Stage
from .design import Design
from .layers import ConditionEmbedding, check_positive, group_norm, zero


@networks.register("unet_encoder")
class UNetEncoder(NoisyClassifier):
    """Classifier of noisy images: the encoder half of the U-Net, time by AdaGN, and attention pooling.

    Args:
        channels: Image channels.
        num_classes: Number of labels.
        size: Height and width of the images, which the pool's positions are for.
        width: Channels at full resolution.
        multipliers: Width of each level over ``width``; every level but the first halves the resolution.
        blocks: Residual blocks per level.
        attention: Levels (0 = full resolution) with self-attention.
        head_width: Channels per attention head, the pool's too.
        dropout: Dropout probability in the residual blocks.
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        size: Sequence[int],
        width: int = 64,
        multipliers: Sequence[int] = (1, 2, 2),
        blocks: int = 2,
        attention: Sequence[int] = (1, 2),
        head_width: int = 32,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_positive("a unet_encoder", {"num_classes": num_classes})
        design = Design("unet_encoder", channels, width, multipliers, blocks, attention, head_width, dropout)
        if len(size) != 2:
            raise ValueError(f"a unet_encoder needs the size of its images, [height, width], not {list(size)}")
        design.check_size(size)
        outputs = design.widths[-1]
        if outputs % head_width:
            raise ValueError(f"head_width {head_width} does not divide the {outputs} channels that are pooled")
        self.design = design
        self.num_classes = num_classes
        self.size = tuple(size)
        self.embed = ConditionEmbedding(width, design.condition, None)
        self.enter = nn.Conv2d(channels, width, 3, padding=1)
        self.down, _ = design.descent()
        self.middle = design.middle()
        pixels = (size[0] // design.shrinkage) * (size[1] // design.shrinkage)
        self.pool = AttentionPool(outputs, pixels, outputs // head_width)
        self.leave = nn.Sequential(nn.SiLU(), zero(nn.Linear(outputs, num_classes)))
        self.to(memory_format=torch.channels_last)  # as the U-Net

    @classmethod
    def options_for(cls, shape: Sequence[int], num_classes: int | None) -> dict[str, Any]:
        if len(shape) != 3 or num_classes is None:
            raise ValueError(f"a unet_encoder takes labelled images, not {num_classes} classes of shape {tuple(shape)}")
        return {"channels": shape[0], "num_classes": num_classes, "size": list(shape[1:])}

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.design.check_images(x)
        if tuple(x.shape[2:]) != self.size:
            raise ValueError(f"this unet_encoder takes images of {self.size} pixels, not {tuple(x.shape[2:])}")
        embedding = functional.silu(self.embed(t, None))
        hidden = self.enter(x)
        for layer in (*self.down, *self.middle):
            hidden = layer(hidden, embedding) if isinstance(layer, Stage) else layer(hidden)
        return self.leave(self.pool(hidden))


class AttentionPool(nn.Module):
    """All pixels to one vector: the mean pixel attends to itself and to every other.

    Args:
        channels: Of the pixels, and of the result.
        pixels: How many there are.
        heads: How many shares of the channels attend separately.
    """

    def __init__(self, channels: int, pixels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.enter = nn.Sequential(group_norm(channels), nn.SiLU())
        self.position = nn.Parameter(torch.randn(pixels + 1, channels) / channels**0.5)
        self.query = nn.Linear(channels, channels)
        self.key_and_value = nn.Linear(channels, 2 * channels)
        self.leave = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, C, H, W) to (B, C)."""
        pixels = self.enter(x).flatten(2).mT  # (B, H W, C)
        tokens = torch.cat([pixels.mean(1, keepdim=True), pixels], 1) + self.position
        query, key, value = self.query(tokens[:, :1]), *self.key_and_value(tokens).chunk(2, 2)
        # (B, N, C) -> (B, heads, N, C / heads)
        split = (each.unflatten(2, (self.heads, -1)).transpose(1, 2) for each in (query, key, value))
        mixed = functional.scaled_dot_product_attention(*split)
        return self.leave(mixed.flatten(1))
