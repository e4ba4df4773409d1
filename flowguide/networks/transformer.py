r"""What transformers are made of: attention, perceptrons and norms.

.. math:: \mathrm{attention}(h) = W_o\, \mathrm{softmax}\!\left( \frac{q\, k^\top}{\sqrt{d}} \right) v

in every head, d channels wide. Queries and keys may be normalised before, and turned by where they are
(:mod:`flowguide.networks.positions`).

Source: Vaswani et al. (2017), arXiv 1706.03762; Dehghani et al. (2023), arXiv 2302.05442 (normalised queries and keys);
Shazeer (2020), arXiv 2002.05202 (SwiGLU); Zhang & Sennrich (2019), arXiv 1910.07467 (RMSNorm).
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from .positions import rotate

Norm = Literal["layer", "rms"]
Activation = Literal["gelu", "swiglu"]


def norm_of(kind: Norm, width: int, learned: bool = False, epsilon: float = 1e-6) -> nn.Module:
    """Layer normalisation or RMSNorm over the last axis, as published with epsilon 1e-6."""
    norm = {"layer": nn.LayerNorm, "rms": nn.RMSNorm}[kind]
    return norm(width, eps=epsilon, elementwise_affine=learned)


class Attention(nn.Module):
    """Multi-head attention; over the tokens themselves, or from them to others if there is a ``memory`` of those.

    Args:
        width: Of the tokens.
        heads: How many shares of the width attend separately.
        normalised: The kind of norm of queries and keys, learned and over one head; None for none.
        cross: Whether to others.
    """

    def __init__(self, width: int, heads: int, normalised: Norm | None = None, cross: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width) if cross else None
        self.project = nn.Linear(width, (2 if cross else 3) * width)
        self.query_norm = norm_of(normalised, width // heads, learned=True) if normalised else nn.Identity()
        self.key_norm = norm_of(normalised, width // heads, learned=True) if normalised else nn.Identity()
        self.leave = nn.Linear(width, width)

    def remember(self, tokens: Tensor) -> Tensor:
        """Tokens (B, L, W) as the memory to attend to: keys and values, shape (B, 2, heads, L, W / heads)."""
        key, value = self._heads(self.project(tokens), 2)
        return torch.stack([self.key_norm(key), value], dim=1)

    def forward(
        self,
        x: Tensor,
        rotation: Tensor | None = None,
        memory: Tensor | None = None,
        present: Tensor | None = None,
    ) -> Tensor:
        """Shape (B, N, W); ``rotation`` as of :func:`rotations`, ``present`` (B, L) which of the memory there is."""
        if memory is None:
            query, key, value = self._heads(self.project(x), 3)
            key = self.key_norm(key)
        else:
            (query,) = self._heads(self.query(x), 1)
            key, value = memory.unbind(1)
        query = self.query_norm(query)
        if rotation is not None:
            query, key = rotate(query, rotation), rotate(key, rotation)
        mask = None if present is None else present[:, None, None]
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.leave(mixed.transpose(1, 2).flatten(2))

    def _heads(self, projected: Tensor, parts: int) -> tuple[Tensor, ...]:
        """(B, N, parts * W) to ``parts`` of (B, heads, N, W / heads)."""
        return tuple(part.transpose(1, 2) for part in projected.unflatten(2, (parts, self.heads, -1)).unbind(2))


class FeedForward(nn.Module):
    """``W2 gelu(W1 x)``, or ``W2 (silu(W1 x) * V1 x)``, at 2/3 of the hidden width for as many parameters."""

    def __init__(self, width: int, hidden: int, activation: Activation) -> None:
        super().__init__()
        self.gated = activation == "swiglu"
        if self.gated:
            hidden = 2 * hidden // 3
        self.enter = nn.Linear(width, 2 * hidden if self.gated else hidden)
        self.leave = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.enter(x)
        if not self.gated:
            return self.leave(functional.gelu(hidden, approximate="tanh"))
        gate, hidden = hidden.chunk(2, dim=-1)
        return self.leave(functional.silu(gate) * hidden)
