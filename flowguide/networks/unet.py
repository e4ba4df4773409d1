r"""A U-Net of images: that of ADM, and compact ones of its kind.

Residual blocks (:mod:`flowguide.networks.blocks`) at falling and then rising resolution, joined by skip connections,

.. math:: h_{i+1} = \mathrm{down}_i(h_i, e), \qquad g_{i} = \mathrm{up}_i([g_{i+1}, h_i], e),

where e is the embedding of time and label. With its defaults it is a compact one. The network as it was published is
what these options make it, beside widths, multipliers, blocks and heads:

====================================  ==============================================================
``groups=32``                         normalisation, however narrow the layer
``resampling="residual"``             up and down by residual blocks
``middle_attention=True``             whatever the lowest level has
``stem``                              as wide as the first level, where that is not ``width``
``time_scale=1``                      time is a timestep: the field's clock is ``path.timestep``
``null_label=False``                  no row for "no label": it is conditional and nothing else
``learned_sigma=True``                twice the channels, of which the second half is dropped
====================================  ==============================================================

That of DDPM, as others publish it: ``groups=32``, ``scale_shift=False``, ``heads=1``, ``resampling="asymmetric"``,
``epsilon=1e-6``, ``closed_frequencies=True`` and ``time_scale=1``.

Source: Dhariwal & Nichol (2021), arXiv 2105.05233, section 3; Ho, Jain & Abbeel (2020), arXiv 2006.11239.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .base import networks
from .beside import ImageNetwork
from .blocks import Order, Stage
from .design import Design, Resampling
from .embedding import ConditionEmbedding
from .encoded import Encoded
from .layers import SiLU, group_norm, zero


@networks.register("unet")
class UNet(ImageNetwork):
    """U-Net with AdaGN and attention, for images of 8x8 pixels and more; by its options that of ADM.

    Args:
        channels: Image channels.
        num_classes: Number of labels, or null for none.
        width: Channels at full resolution.
        multipliers: Width of each level over ``width``; every level but the first halves the resolution.
        blocks: Residual blocks per level: one number, or one for each.
        attention: Levels (0 = full resolution) with self-attention.
        head_width: Channels per attention head.
        dropout: Dropout probability in the residual blocks.
        heads: How many heads at every level, in place of ``head_width``.
        attention_sizes: Heights in pixels at which there is attention, in place of ``attention``; needs ``size``.
        size: Height and width of the images; nothing but ``attention_sizes`` needs it.
        middle_attention: Whether the middle has attention; null for whether the lowest level has.
        attention_order: Of projected channels: "new" is queries, keys, values; "legacy" is by heads first.
        scale_shift: Whether time and label scale and shift (AdaGN); otherwise they are added.
        resampling: By "convolution" (strided down; nearest neighbours and one up), "asymmetric" (the same, where the
            one down is padded below and to the right alone), by "pool" (means down; nearest neighbours up), or by
            "residual" blocks.
        groups: Of group normalisation; null for 32, or fewer in narrow layers.
        stem: Channels after the first convolution; null for ``width``.
        rescale: Divide sums with shortcuts by the root of 2.
        checkpointing: Keep less for the backward pass, and compute it again.
        time_scale: What the time features multiply t by: 1000 for t in [0, 1].
        null_label: Whether there is a label that means "none"; if not, it cannot be evaluated without labels.
        learned_sigma: Whether the output layer has twice the channels, the second half of them a variance. It is
            dropped, and has no gradient.
        extra_channels: Channels of an image beside the state, which is part of the condition (:meth:`.join`).
        embedding: Width E of conditions (B, E), of a caption say, in place of labels. Zeros are null.
        sequence: Length and width [L, C] of conditions (B, L, C) in place of labels, which pixels attend to wherever
            they attend to one another. Zeros are null, and a token that starts with NaN is absent.
        epsilon: Of group normalisation.
        closed_frequencies: Whether the lowest frequency of the time features is 1/10000 itself, as in DDPM.
    """

    def __init__(
        self,
        channels: int,
        num_classes: int | None = None,
        width: int = 64,
        multipliers: Sequence[int | float] = (1, 2, 2),
        blocks: int | Sequence[int] = 2,
        attention: Sequence[int] = (1, 2),
        head_width: int = 32,
        dropout: float = 0.0,
        heads: int | None = None,
        attention_sizes: Sequence[int] | None = None,
        size: Sequence[int] | None = None,
        middle_attention: bool | None = None,
        attention_order: Order = "new",
        scale_shift: bool = True,
        resampling: Resampling = "convolution",
        groups: int | None = None,
        stem: int | None = None,
        rescale: bool = False,
        checkpointing: bool = False,
        time_scale: float = 1000.0,
        null_label: bool = True,
        learned_sigma: bool = False,
        extra_channels: int = 0,
        embedding: int | None = None,
        sequence: Sequence[int] | None = None,
        epsilon: float = 1e-5,
        closed_frequencies: bool = False,
    ) -> None:
        super().__init__("unet", num_classes, null_label, extra_channels)
        self.design = design = Design(
            "unet",
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
            epsilon=epsilon,
            sequences=sequence is not None,
        )
        self.learned_sigma = learned_sigma
        if sequence is not None and not design.attention and not design.middle_attention:
            raise ValueError("pixels attend to a sequence where they attend to one another: this unet needs attention")
        conditions = (num_classes, embedding, sequence, null_label)
        self.embed = ConditionEmbedding("unet", width, design.condition, *conditions, time_scale, closed_frequencies)
        self.enter = nn.Conv2d(channels + extra_channels, design.stem, 3, padding=1)
        self.down, skips = design.descent()
        self.middle = design.middle()
        self.up = design.ascent(skips)
        outputs = 2 * channels if learned_sigma else channels
        last = design.widths[0]
        norm = group_norm(last, groups, epsilon)
        self.leave = nn.Sequential(norm, SiLU(), zero(nn.Conv2d(last, outputs, 3, padding=1)))
        # Convolutions on CPU and on GPU tensor cores are fastest with the channels innermost.
        self.to(memory_format=torch.channels_last)

    @classmethod
    def options_for(cls, shape: Sequence[int], num_classes: int | None) -> dict[str, Any]:
        if len(shape) != 3:
            raise ValueError(
                f"a unet takes images, shape (channels, height, width), not samples of shape {tuple(shape)}"
            )
        return {"channels": shape[0], "num_classes": num_classes}

    @property
    def conditioning(self) -> ConditionEmbedding:
        return self.embed

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | Encoded | None = None) -> Tensor:
        self.design.check_images(x)
        x, cond = self.told(x, cond)
        embedding = functional.silu(self.embed(t, cond))
        sequence = cond if self.design.sequences else ()
        hidden = self.enter(x)
        skips = [hidden]
        for layer in self.down:
            hidden = layer(hidden, embedding, *sequence) if isinstance(layer, Stage) else layer(hidden)
            skips.append(hidden)
        for layer in self.middle:
            hidden = layer(hidden, embedding, *sequence)
        for layer in self.up:
            if not isinstance(layer, Stage):
                hidden = layer(hidden)
            elif layer.block.resample is not None:
                hidden = layer(hidden, embedding, *sequence)
            else:
                hidden = layer(torch.cat([hidden, skips.pop()], dim=1), embedding, *sequence)
        norm, silu, last = self.leave
        if not self.learned_sigma:
            return last(silu(norm(hidden)))
        # Of a learned variance nothing is computed: the first channels of the output need the first filters alone.
        weight, bias = last.weight[: self.design.channels], last.bias[: self.design.channels]
        return functional.conv2d(silu(norm(hidden)), weight, bias, padding=1)
