r"""What networks of images in the manner of ADM are made of: residual blocks and attention.

Time and label enter every residual block by adaptive group normalisation (AdaGN),

.. math:: \mathrm{AdaGN}(h, e) = (1 + e_s)\, \mathrm{GroupNorm}(h) + e_b, \qquad (e_s, e_b) = W \mathrm{silu}(e),

and self-attention runs at chosen resolutions. Output layers of all branches start at zero.

Source: Dhariwal & Nichol (2021), arXiv 2105.05233, section 3; Ho, Jain & Abbeel (2020), arXiv 2006.11239.
"""

from torch import Tensor, nn
from torch.nn import functional

from .layers import group_norm, zero


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
