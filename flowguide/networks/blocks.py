r"""What networks of images in the manner of ADM are made of: residual blocks and attention.

Time and label enter every residual block by adaptive group normalisation (AdaGN), or by addition,

.. math:: \mathrm{AdaGN}(h, e) = (1 + e_s)\, \mathrm{GroupNorm}(h) + e_b, \qquad (e_s, e_b) = W \mathrm{silu}(e),
    \qquad\text{or}\qquad \mathrm{GroupNorm}(h + W \mathrm{silu}(e)),

and self-attention runs at chosen resolutions,

.. math:: \mathrm{softmax}\!\left( (d^{-1/4} q)^\top (d^{-1/4} k) \right) v

in every head of width d. Output layers of all branches start at zero. A block that changes the resolution does so
between its first activation and its first convolution, and on its shortcut: by nearest neighbours up, by means of 2x2
pixels down.

Source: Dhariwal & Nichol (2021), arXiv 2105.05233, section 3; Ho, Jain & Abbeel (2020), arXiv 2006.11239; the division
of sums by the root of 2, Song et al. (2021), arXiv 2011.13456, appendix H; attention to a sequence, Rombach et al.
(2022), arXiv 2112.10752, section 3.3.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from .layers import Dropout, SiLU, group_norm, recomputed, zero
from .resampling import Doubling, Halving

Order = Literal["new", "legacy"]


class Stage(nn.Module):
    """A residual block and, at some levels, attention after it: to all pixels, and to a sequence if there is one.

    Args:
        block, attention, cross: Its layers.
        checkpointing: Whether training keeps the input alone and computes the rest again when it is needed.
    """

    def __init__(
        self,
        block: "ResidualBlock",
        attention: "Attention | None",
        cross: "CrossAttention | None" = None,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.block = block
        self.attention = attention
        self.cross = cross
        self.checkpointing = checkpointing

    def forward(self, x: Tensor, embedding: Tensor, *sequence: Tensor) -> Tensor:
        """``sequence`` is tokens (B, L, W) and which of them are present (B, L), or nothing."""
        inputs = (x, embedding, *sequence)
        return recomputed(self._run, *inputs) if self.checkpointing else self._run(*inputs)

    def _run(self, x: Tensor, embedding: Tensor, *sequence: Tensor) -> Tensor:
        x = self.block(x, embedding)
        x = x if self.attention is None else self.attention(x)
        return x if self.cross is None else self.cross(x, *sequence)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with time and label between them, and a shortcut; ``embedding`` comes after its silu.

    Args:
        inputs, outputs, condition: Channels of what goes in and comes out, and the width of the embedding.
        dropout: Probability, before the second convolution.
        scale_shift: By AdaGN; otherwise the embedding is added.
        resample: "up" doubles the resolution, "down" halves it.
        groups: Of group normalisation; None for 32, or fewer in narrow layers.
        rescale: Divide the sum with the shortcut by the root of 2.
        epsilon: Of group normalisation.
        project: Whether a shortcut that changes the resolution has a 1x1 convolution, as one that changes the channels.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        condition: int,
        dropout: float,
        *,
        scale_shift: bool = True,
        resample: Literal["up", "down"] | None = None,
        groups: int | None = None,
        rescale: bool = False,
        epsilon: float = 1e-5,
        project: bool = False,
    ) -> None:
        super().__init__()
        first = {None: convolution, "up": Doubling, "down": Halving}[resample](inputs, outputs)
        self.enter = nn.Sequential(group_norm(inputs, groups, epsilon), SiLU(), first)
        self.modulate = nn.Linear(condition, 2 * outputs if scale_shift else outputs)
        self.norm = group_norm(outputs, groups, epsilon)
        self.leave = nn.Sequential(SiLU(), Dropout(dropout), zero(convolution(outputs, outputs)))
        same = inputs == outputs and not (project and resample)
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1)
        self.scale_shift = scale_shift
        self.resample = resample
        self.rescale = rescale

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        hidden = self.enter(x)
        modulation = self.modulate(embedding)[..., None, None]
        if self.scale_shift:
            scale, shift = modulation.chunk(2, dim=1)
            hidden = torch.addcmul(shift, self.norm(hidden), 1 + scale)
        else:
            hidden = self.norm(hidden + modulation)
        total = self.leave(hidden)
        total += self.shortcut(self._resampled(x))  # a convolution's own output, of which its gradient needs nothing
        return total * 0.5**0.5 if self.rescale else total

    def _resampled(self, x: Tensor) -> Tensor:
        if self.resample is None:
            return x
        if self.resample == "up":
            return functional.interpolate(x, scale_factor=2, mode="nearest")
        return functional.avg_pool2d(x, 2)


class Attention(nn.Module):
    """Multi-head self-attention over all pixels, with a shortcut.

    Args:
        channels: Of the pixels.
        heads: How many shares of the channels attend separately.
        order: Of the projected channels: "new" is queries, keys and values, each of all heads; "legacy" is heads, each
            with its query, key and value.
        groups, rescale, epsilon: As of the residual blocks.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        order: Order = "new",
        groups: int | None = None,
        rescale: bool = False,
        epsilon: float = 1e-5,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.order = order
        self.rescale = rescale
        self.norm = group_norm(channels, groups, epsilon)
        self.project = nn.Conv2d(channels, 3 * channels, 1)
        self.leave = zero(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        split = (3, self.heads) if self.order == "new" else (self.heads, 3)
        # (B, 3C, H, W) -> three of (B, heads, H W, C / heads)
        projected = self.project(self.norm(x)).reshape(batch, *split, channels // self.heads, height * width)
        query, key, value = projected.transpose(3, 4).unbind(1 if self.order == "new" else 2)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        total = x + self.leave(mixed.transpose(2, 3).reshape(x.shape))
        return total * 0.5**0.5 if self.rescale else total


class CrossAttention(nn.Module):
    """Attention of every pixel to the tokens of a sequence, with a shortcut.

    Args:
        channels: Of the pixels.
        width: Of the tokens.
        heads: How many shares of the channels attend separately.
        groups, rescale, epsilon: As of the residual blocks.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        heads: int,
        groups: int | None = None,
        rescale: bool = False,
        epsilon: float = 1e-5,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.rescale = rescale
        self.norm = group_norm(channels, groups, epsilon)
        self.query = nn.Conv2d(channels, channels, 1)
        self.key_and_value = nn.Linear(width, 2 * channels)
        self.leave = zero(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor, tokens: Tensor, present: Tensor) -> Tensor:
        query, pairs = self.query(self.norm(x)).flatten(2).mT, self.key_and_value(tokens).chunk(2, dim=2)
        # (B, N, C) -> (B, heads, N, C / heads)
        split = (each.unflatten(2, (self.heads, -1)).transpose(1, 2) for each in (query, *pairs))
        mixed = functional.scaled_dot_product_attention(*split, attn_mask=present[:, None, None])
        total = x + self.leave(mixed.transpose(2, 3).reshape(x.shape))
        return total * 0.5**0.5 if self.rescale else total


def convolution(inputs: int, outputs: int) -> nn.Conv2d:
    """A 3x3 convolution that keeps the resolution."""
    return nn.Conv2d(inputs, outputs, 3, padding=1)
