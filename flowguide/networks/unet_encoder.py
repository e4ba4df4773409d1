r"""A classifier of noisy images: the encoder half of the U-Net, and a pool of its pixels.

With hidden pixels :math:`h_1, \dots, h_n` at the lowest resolution, learned positions :math:`p_i` and the mean
:math:`h_0 = \frac1n \sum_i h_i`, the pooled features are the mean's answer from all the others,

.. math:: \mathrm{pool}(h) = W_o \sum_{i=0}^n \mathrm{softmax}_i\!\left( \frac{q^\top k_i}{\sqrt{d}} \right) v_i, \qquad
    q = W_q (h_0 + p_0), \quad k_i = W_k (h_i + p_i), \quad v_i = W_v (h_i + p_i),

in every head. "attention" classifies these features; "attention_to_logits" is the published one, whose :math:`W_o` has
a row per label. "adaptive" classifies the mean pixel, and "spatial" and "spatial_v2" the means of the pixels of all
layers, by a perceptron.

Source: Dhariwal & Nichol (2021), arXiv 2105.05233, section 4.3; the pool is that of Radford et al. (2021),
arXiv 2103.00020, section 2.4.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from .base import NoisyClassifier, networks
from .blocks import Order, Stage
from .design import Design, Resampling
from .embedding import ConditionEmbedding
from .layers import GroupNorm, check_positive, group_norm, zero

Pool = Literal["attention", "attention_to_logits", "adaptive", "spatial", "spatial_v2"]
_HIDDEN = 2048  # of the perceptron of the spatial pools


@networks.register("unet_encoder")
class UNetEncoder(NoisyClassifier):
    """Classifier of noisy images: the encoder half of the U-Net, and a pool of its pixels, by attention or by means.

    Args:
        channels: Image channels.
        num_classes: Number of labels.
        size: Height and width of the images, which the positions of a pool by attention are for.
        width: Channels at full resolution.
        multipliers: Width of each level over ``width``; every level but the first halves the resolution.
        blocks: Residual blocks per level.
        attention: Levels (0 = full resolution) with self-attention.
        head_width: Channels per attention head, the pool's too.
        dropout: Dropout probability in the residual blocks.
        heads, attention_sizes, middle_attention, attention_order, scale_shift, resampling, groups, stem, rescale: As of
            the U-Net; ``heads`` are not the pool's.
        checkpointing, time_scale: As of the U-Net.
        pool: "attention", "attention_to_logits", "adaptive", "spatial" or "spatial_v2".
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        size: Sequence[int],
        width: int = 64,
        multipliers: Sequence[int | float] = (1, 2, 2),
        blocks: int | Sequence[int] = 2,
        attention: Sequence[int] = (1, 2),
        head_width: int = 32,
        dropout: float = 0.0,
        heads: int | None = None,
        attention_sizes: Sequence[int] | None = None,
        middle_attention: bool | None = None,
        attention_order: Order = "new",
        scale_shift: bool = True,
        resampling: Resampling = "convolution",
        groups: int | None = None,
        stem: int | None = None,
        rescale: bool = False,
        checkpointing: bool = False,
        time_scale: float = 1000.0,
        pool: Pool = "attention",
    ) -> None:
        super().__init__()
        check_positive("a unet_encoder", {"num_classes": num_classes})
        if len(size) != 2:
            raise ValueError(f"a unet_encoder needs the size of its images, [height, width], not {list(size)}")
        self.design = design = Design(
            "unet_encoder",
            channels=channels,
            width=width,
            multipliers=multipliers,
            blocks=blocks,
            attention=attention,
            head_width=head_width,
            dropout=dropout,
            heads=heads,
            attention_sizes=attention_sizes,
            size=size,
            middle_attention=middle_attention,
            attention_order=attention_order,
            scale_shift=scale_shift,
            resampling=resampling,
            groups=groups,
            stem=stem,
            rescale=rescale,
            checkpointing=checkpointing,
        )
        design.check_size(size)
        self.num_classes = num_classes
        self.size = tuple(size)
        self.embed = ConditionEmbedding("unet_encoder", width, design.condition, time_scale=time_scale)
        self.enter = nn.Conv2d(channels, design.stem, 3, padding=1)
        self.down, channels_of_layers = design.descent()
        self.middle = design.middle()
        self.pooling = pool
        self.pool, self.leave = self._pool(sum(channels_of_layers), head_width, groups)
        self.to(memory_format=torch.channels_last)  # as the U-Net

    @classmethod
    def options_for(cls, shape: Sequence[int], num_classes: int | None) -> dict[str, Any]:
        if len(shape) != 3 or num_classes is None:
            raise ValueError(f"a unet_encoder takes labelled images, not {num_classes} classes of shape {tuple(shape)}")
        return {"channels": shape[0], "num_classes": num_classes, "size": list(shape[1:])}

    def _pool(self, features: int, head_width: int, groups: int | None) -> tuple[nn.Module, nn.Module]:
        """What makes features of pixels and logits of features; ``features`` are the channels of the way down."""
        outputs, classes = self.design.widths[-1], self.num_classes
        if self.pooling == "adaptive":
            pixels = nn.Sequential(group_norm(outputs, groups), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
            return pixels, zero(nn.Linear(outputs, classes))
        if self.pooling == "spatial":
            return nn.Linear(features + outputs, _HIDDEN), nn.Sequential(nn.ReLU(), zero(nn.Linear(_HIDDEN, classes)))
        if self.pooling == "spatial_v2":
            pool = nn.Sequential(nn.Linear(features + outputs, _HIDDEN), GroupNorm(32, _HIDDEN))
            return pool, nn.Sequential(nn.SiLU(), zero(nn.Linear(_HIDDEN, classes)))
        if outputs % head_width:
            raise ValueError(f"head_width {head_width} does not divide the {outputs} channels that are pooled")
        pixels = (self.size[0] // self.design.shrinkage) * (self.size[1] // self.design.shrinkage)
        if self.pooling == "attention_to_logits":
            pool = AttentionPool(outputs, pixels, outputs // head_width, classes, groups)
            zero(pool.leave)
            return pool, nn.Identity()
        pool = AttentionPool(outputs, pixels, outputs // head_width, outputs, groups)
        return pool, nn.Sequential(nn.SiLU(), zero(nn.Linear(outputs, classes)))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.design.check_images(x)
        if self.pooling.startswith("attention") and tuple(x.shape[2:]) != self.size:
            raise ValueError(f"this unet_encoder takes images of {self.size} pixels, not {tuple(x.shape[2:])}")
        embedding = functional.silu(self.embed(t))
        hidden = self.enter(x)
        spatial = self.pooling.startswith("spatial")
        means = [hidden.mean((2, 3))] if spatial else []
        for layer in self.down:
            hidden = layer(hidden, embedding) if isinstance(layer, Stage) else layer(hidden)
            means += [hidden.mean((2, 3))] if spatial else []
        for layer in self.middle:
            hidden = layer(hidden, embedding)
        if spatial:
            hidden = torch.cat([*means, hidden.mean((2, 3))], dim=1)
        return self.leave(self.pool(hidden))


class AttentionPool(nn.Module):
    """All pixels to one vector: the mean pixel attends to itself and to every other.

    Args:
        channels: Of the pixels.
        pixels: How many there are.
        heads: How many shares of the channels attend separately.
        outputs: Entries of the result; None for as many as there are channels.
        groups: Of group normalisation; None for 32, or fewer in narrow layers.
    """

    def __init__(
        self, channels: int, pixels: int, heads: int, outputs: int | None = None, groups: int | None = None
    ) -> None:
        super().__init__()
        self.heads = heads
        self.enter = nn.Sequential(group_norm(channels, groups), nn.SiLU())
        self.position = nn.Parameter(torch.randn(pixels + 1, channels) / channels**0.5)
        self.query = nn.Linear(channels, channels)
        self.key_and_value = nn.Linear(channels, 2 * channels)
        self.leave = nn.Linear(channels, outputs or channels)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, C, H, W) to (B, outputs)."""
        pixels = self.enter(x).flatten(2).mT  # (B, H W, C)
        tokens = torch.cat([pixels.mean(1, keepdim=True), pixels], 1) + self.position
        query, key, value = self.query(tokens[:, :1]), *self.key_and_value(tokens).chunk(2, 2)
        # (B, N, C) -> (B, heads, N, C / heads)
        split = (each.unflatten(2, (self.heads, -1)).transpose(1, 2) for each in (query, key, value))
        mixed = functional.scaled_dot_product_attention(*split)
        return self.leave(mixed.flatten(1))
