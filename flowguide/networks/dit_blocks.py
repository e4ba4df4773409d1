r"""What a diffusion transformer is made of: attention and a perceptron, modulated by time and label (adaLN-Zero).

.. math:: h \leftarrow h + \gamma_1 \, \mathrm{attention}(\alpha_1 \ast h), \qquad
    h \leftarrow h + \gamma_2 \, \mathrm{mlp}(\alpha_2 \ast h), \qquad
    (s, b) \ast h = \mathrm{norm}(h)\,(1 + s) + b,

where :math:`b_1, s_1, \gamma_1, b_2, s_2, \gamma_2`, in this order, are linear in silu(c), c the embedding of time
and label, and :math:`\alpha_i = (s_i, b_i)`. They start at zero, so every block starts as the identity. A sequence of
conditions is attended to between the two, :math:`h \leftarrow h + \mathrm{cross}(\mathrm{norm}(h), \mathrm{tokens})`,
and the last layer of that starts at zero.

Source: Peebles & Xie (2022), arXiv 2212.09748, section 3.2; Dehghani et al. (2023), arXiv 2302.05442 (normalised
queries and keys); Shazeer (2020), arXiv 2002.05202 (SwiGLU); Zhang & Sennrich (2019), arXiv 1910.07467 (RMSNorm).
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from .layers import zero
from .positions import rotate

Norm = Literal["layer", "rms"]
Activation = Literal["gelu", "swiglu"]


def norm_of(kind: Norm, width: int, learned: bool = False) -> nn.Module:
    """Layer normalisation or RMSNorm over the last axis, as published with epsilon 1e-6."""
    norm = {"layer": nn.LayerNorm, "rms": nn.RMSNorm}[kind]
    return norm(width, eps=1e-6, elementwise_affine=learned)


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """``x (1 + scale) + shift``."""
    return torch.addcmul(shift, x, 1 + scale)


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


class Block(nn.Module):
    """Attention, attention to a sequence of conditions if there is one, and a perceptron.

    Args:
        width, heads: Of the attention.
        hidden: Width within the perceptron.
        activation: Of the perceptron.
        norm: What normalises the tokens.
        qk_norm: Whether it normalises queries and keys too.
        cross: Whether there is a sequence to attend to.
    """

    def __init__(
        self, width: int, heads: int, hidden: int, activation: Activation, norm: Norm, qk_norm: bool, cross: bool
    ) -> None:
        super().__init__()
        normalised = norm if qk_norm else None
        self.norm = norm_of(norm, width)  # it has no parameters, and serves all branches
        self.attention = Attention(width, heads, normalised)
        self.cross = Attention(width, heads, normalised, cross=True) if cross else None
        self.feed = FeedForward(width, hidden, activation)
        self.modulate = nn.Linear(width, 6 * width)

    def initialise(self) -> None:
        """What has to start at zero."""
        zero(self.modulate)
        if self.cross is not None:
            zero(self.cross.leave)

    def forward(
        self,
        x: Tensor,
        embedding: Tensor,
        rotation: Tensor | None = None,
        memory: Tensor | None = None,
        present: Tensor | None = None,
    ) -> Tensor:
        """Tokens (B, N, W) to tokens; ``embedding`` (B, W), or (1, W), comes after its silu."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulate(embedding)[:, None].chunk(6, dim=2)
        x = torch.addcmul(x, gate1, self.attention(modulated(self.norm(x), shift1, scale1), rotation))
        if self.cross is not None:
            x = x + self.cross(self.norm(x), None, memory, present)
        return torch.addcmul(x, gate2, self.feed(modulated(self.norm(x), shift2, scale2)))


class Final(nn.Module):
    """``W modulated(norm(x))``, which starts at zero."""

    def __init__(self, width: int, outputs: int, norm: Norm) -> None:
        super().__init__()
        self.norm = norm_of(norm, width)
        self.modulate = nn.Linear(width, 2 * width)
        self.leave = nn.Linear(width, outputs)

    def initialise(self) -> None:
        """What has to start at zero: all of it."""
        zero(self)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        shift, scale = self.modulate(embedding)[:, None].chunk(2, dim=2)
        return self.leave(modulated(self.norm(x), shift, scale))
