"""Layers that several networks share."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

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
        # An angle of hundreds has no digits left in bfloat16, and steps may be integers.
        dtype = torch.promote_types(t.dtype, torch.float32)
        angles = (self.scale * t.to(dtype))[:, None] * self.frequencies.to(dtype)
        return torch.cat([angles.cos(), angles.sin()], dim=1).to(t.dtype if t.is_floating_point() else dtype)


class ConditionEmbedding(nn.Module):
    """Time and condition as one vector per sample: an MLP of the time features plus a row per label, or a projection.

    Args:
        features: Width of the time features.
        width: Width of the result.
        num_classes: Number of labels, or None.
        time_scale: What the features multiply time by.
        null_label: Whether the table has one row more, the null label's.
        embedding: Width E of conditions (B, E) in place of labels.
        sequence: Length and width [L, C] of conditions (B, L, C) in place of labels. They are not added to time: their
            tokens are for attention.
    """

    def __init__(
        self,
        features: int,
        width: int,
        num_classes: int | None,
        time_scale: float = 1000.0,
        null_label: bool = True,
        embedding: int | None = None,
        sequence: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if num_classes is not None and num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, or null for no labels, not {num_classes}")
        if [num_classes, embedding, sequence].count(None) < 2:
            raise ValueError("conditions are of one kind: set one of num_classes, embedding and sequence")
        layers = (TimeFeatures(features, time_scale), nn.Linear(features, width), nn.SiLU(), nn.Linear(width, width))
        self.time = nn.Sequential(*layers)
        self.label = None if num_classes is None else nn.Embedding(num_classes + null_label, width)
        self.shape = tuple(sequence or ()) if embedding is None else (embedding,)
        self.project = None
        if self.shape:
            if min(self.shape) < 1 or (sequence is not None and len(self.shape) != 2):
                raise ValueError(f"conditions need a width, embedding=768, or sequence=[77, 768], not {self.shape}")
            self.project = nn.Sequential(nn.Linear(self.shape[-1], width), nn.SiLU(), nn.Linear(width, width))
            self.register_buffer("absent", torch.zeros(self.shape))  # the condition that means "none given"

    def encode(self, cond: Tensor | Encoded | None) -> Tensor | Encoded | None:
        """What networks compute of conditions once; as they are if that is done, or if it takes none.

        Labels (B,) become [rows (B, width)], embeddings [vectors (B, width)], and sequences [tokens (B, L, width),
        present (B, L)]. A token that starts with NaN is absent; of a sequence without tokens the first is attended to.
        """
        if isinstance(cond, Encoded) or (self.label is None and self.project is None):
            return cond
        if self.label is not None:
            return Encoded([self.label(cond)])
        if cond.shape[1:] != self.shape:
            wanted = ", ".join(map(str, ("B", *self.shape)))
            raise ValueError(f"this network takes conditions of shape ({wanted}), not {tuple(cond.shape)}")
        if cond.ndim == 2:
            return Encoded([self.project(cond)])
        absent = cond[..., 0].isnan()
        first = torch.arange(cond.shape[1], device=cond.device) == 0
        tokens = self.project(cond.masked_fill(absent[..., None], 0.0))
        return Encoded([tokens, ~absent | (first & absent.all(1, keepdim=True))])

    def forward(self, t: Tensor, cond: Tensor | Encoded | None) -> Tensor:
        """t () or (B,) and conditions to shape (B, width), or (1, width) if neither tells the samples apart."""
        embedding = self.time(t.reshape(-1))
        adds = self.label is not None or len(self.shape) == 1
        return embedding + self.encode(cond)[0] if adds else embedding


def check_positive(owner: str, sizes: Mapping[str, int]) -> None:
    """ValueError unless every size is at least 1."""
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"{owner} needs {name} >= 1, not {value}")


class GroupNorm(nn.GroupNorm):
    """Group normalisation in float32 at least, whatever autocast or the weights say; the result is as x is."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype not in (torch.float16, torch.bfloat16):
            return super().forward(x)
        weight, bias = self.weight.float(), self.bias.float()
        return functional.group_norm(x.float(), self.num_groups, weight, bias, self.eps).to(x.dtype)


def group_norm(channels: int, groups: int | None = None) -> GroupNorm:
    """Group normalisation with 32 groups, fewer where that would leave less than 4 channels in one, or with ``groups``.

    Source: Karras et al. (2022), arXiv 2206.00364 (the rule for few channels); always 32, Dhariwal & Nichol (2021),
        arXiv 2105.05233.
    """
    return GroupNorm(groups or max(math.gcd(min(32, channels // 4), channels), 1), channels)


class SiLU(nn.SiLU):
    """SiLU of what nothing else needs: without gradients, in place."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.silu(x, inplace=not torch.is_grad_enabled())


def zero(module: nn.Module) -> nn.Module:
    """The module with its parameters set to zero: a residual branch that starts as the identity."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module
