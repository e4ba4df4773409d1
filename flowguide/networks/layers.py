"""Layers that several networks share."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .encoded import Encoded


class TimeFeatures(nn.Module):
    r"""Cosines and sines of time at geometrically spaced frequencies.

    .. math:: [\cos(s\, t\, f_i), \sin(s\, t\, f_i)], \qquad f_i = 10000^{-i / (d/2)}.

    Args:
        width: d, even.
        scale: s: 1000 for t in [0, 1]; 1 for what published networks are told, their own numbers of steps.
    Source: Vaswani et al. (2017), arXiv 1706.03762; in this order and with t in [0, 1000], Dhariwal & Nichol (2021),
        arXiv 2105.05233.
    """

    def __init__(self, width: int, scale: float = 1000.0) -> None:
        super().__init__()
        if width < 2 or width % 2:
            raise ValueError(f"time features come in pairs: their width must be even and positive, not {width}")
        half = width // 2
        # In this order, since the roundings of the exponent are multiplied by steps up to 1000.
        frequencies = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32) / half)
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.scale = scale

    def forward(self, t: Tensor) -> Tensor:
        """t, shape (B,), to features, shape (B, d)."""
        t = t if t.is_floating_point() else t.to(self.frequencies.dtype)
        angles = (self.scale * t)[:, None] * self.frequencies.to(t.dtype)
        return torch.cat([angles.cos(), angles.sin()], dim=1)


class ConditionEmbedding(nn.Module):
    """Time and label as one vector per sample: an MLP of the time features plus a learned row per label.

    Args:
        features: Width of the time features.
        width: Width of the result.
        num_classes: Number of labels, or None. The table has one row more: the null label's.
    """

    def __init__(self, features: int, width: int, num_classes: int | None) -> None:
        super().__init__()
        if num_classes is not None and num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, or null for no labels, not {num_classes}")
        layers = (TimeFeatures(features), nn.Linear(features, width), nn.SiLU(), nn.Linear(width, width))
        self.time = nn.Sequential(*layers)
        self.label = None if num_classes is None else nn.Embedding(num_classes + 1, width)

    def encode(self, cond: Tensor | Encoded | None) -> Tensor | Encoded | None:
        """Labels (B,) as their rows (B, width), unless they are that already; as they are if there are no labels."""
        return cond if self.label is None or isinstance(cond, Encoded) else Encoded([self.label(cond)])

    def forward(self, t: Tensor, cond: Tensor | Encoded | None) -> Tensor:
        """t () or (B,) and labels (B,) to shape (B, width), or (1, width) if neither tells the samples apart."""
        embedding = self.time(t.reshape(-1))
        return embedding if self.label is None else embedding + self.encode(cond)[0]


def check_positive(owner: str, sizes: Mapping[str, int]) -> None:
    """ValueError unless every size is at least 1."""
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"{owner} needs {name} >= 1, not {value}")


def group_norm(channels: int) -> nn.GroupNorm:
    """Group normalisation with 32 groups, fewer where that would leave less than 4 channels in one.

    Source: Karras et al. (2022), arXiv 2206.00364 (the rule for few channels).
    """
    return nn.GroupNorm(max(math.gcd(min(32, channels // 4), channels), 1), channels)


def zero(module: nn.Module) -> nn.Module:
    """The module with its parameters set to zero: a residual branch that starts as the identity."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module
