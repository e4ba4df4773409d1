r"""What a network is told beside its input: time, and with it the condition, as one vector per sample.

.. math:: e = \mathrm{mlp}(\mathrm{features}(t)) + \mathrm{embed}(y).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .conditioning import Conditioning
from .encoded import Encoded


class TimeFeatures(nn.Module):
    r"""Cosines and sines of time at geometrically spaced frequencies.

    .. math:: [\cos(s\, t\, f_i), \sin(s\, t\, f_i)], \qquad f_i = 10000^{-i / (d/2)}.

    Args:
        width: d, even.
        scale: s: 1000 for t in [0, 1]; 1 for what published networks are told, their own numbers of steps.
        closed: Whether the last frequency is 1/10000 itself: :math:`f_i = 10000^{-i / (d/2 - 1)}`.
    Source: Vaswani et al. (2017), arXiv 1706.03762; in this order and with t in [0, 1000], Dhariwal & Nichol (2021),
        arXiv 2105.05233; closed, Ho et al. (2020), arXiv 2006.11239.
    """

    def __init__(self, width: int, scale: float = 1000.0, closed: bool = False) -> None:
        super().__init__()
        if width < 2 or width % 2:
            raise ValueError(f"time features come in pairs: their width must be even and positive, not {width}")
        half = width // 2
        if closed and half < 2:
            raise ValueError(f"time features whose frequencies are closed have a width of 4 or more, not {width}")
        # In this order, since the roundings of the exponent are multiplied by steps up to 1000.
        frequencies = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32) / (half - closed))
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.scale = scale

    def forward(self, t: Tensor) -> Tensor:
        """t, shape (B,), to features, shape (B, d)."""
        # An angle of hundreds has no digits left in bfloat16, and steps may be integers.
        dtype = torch.promote_types(t.dtype, torch.float32)
        angles = (self.scale * t.to(dtype))[:, None] * self.frequencies.to(dtype)
        return torch.cat([angles.cos(), angles.sin()], dim=1).to(t.dtype if t.is_floating_point() else dtype)


def time_embedding(features: int, width: int, scale: float = 1000.0, closed: bool = False) -> nn.Sequential:
    """Times (B,) to vectors (B, width): a perceptron of :class:`TimeFeatures`."""
    layers = (TimeFeatures(features, scale, closed), nn.Linear(features, width), nn.SiLU(), nn.Linear(width, width))
    return nn.Sequential(*layers)


class ConditionEmbedding(Conditioning):
    """Time and condition as one vector per sample. Sequences are not added to time: their tokens are for attention.

    Args:
        owner: Whose it is, for messages.
        features: Width of the time features.
        width: Width of the result.
        time_scale, closed: Of the features of time.
        num_classes, embedding, sequence, null_label: Of the conditions, as for :class:`.Conditioning`.
    """

    def __init__(
        self,
        owner: str,
        features: int,
        width: int,
        num_classes: int | None = None,
        embedding: int | None = None,
        sequence: Sequence[int] | None = None,
        null_label: bool = True,
        time_scale: float = 1000.0,
        closed: bool = False,
    ) -> None:
        time = time_embedding(features, width, time_scale, closed)
        super().__init__(owner, width, num_classes, embedding, sequence, null_label)
        self.time = time

    def encode(self, cond: Tensor | Encoded | None) -> Tensor | Encoded | None:
        """As :meth:`.Conditioning.encode`; what is encoded already, and no condition, stay as they are."""
        return cond if cond is None or isinstance(cond, Encoded) else super().encode(cond)

    def forward(self, t: Tensor, cond: Tensor | Encoded | None = None) -> Tensor:
        """t () or (B,) and conditions to shape (B, width), or (1, width) if neither tells the samples apart."""
        # An encoded condition may hold nothing for this layer: an image alone.
        embedding, encoded = self.time(t.reshape(-1)), self.encode(cond)
        return embedding if not encoded or self.kind == "sequences" else embedding + encoded[0]
