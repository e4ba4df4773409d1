"""A residual multilayer perceptron for toys in a few dimensions."""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from .base import Network, networks
from .embedding import ConditionEmbedding
from .encoded import Encoded
from .layers import check_positive, recomputed, zero


@networks.register("mlp")
class MLP(Network):
    """Residual perceptron; time and label scale and shift every hidden layer.

    Args:
        dim: Entries of a sample, whatever its shape.
        num_classes: Number of labels, or null for none.
        width: Hidden width.
        depth: Number of residual blocks.
        embedding: Width E of conditions (B, E) in place of labels. Zeros are null.
        checkpointing: Keep less for the backward pass, and compute it again.
    """

    def __init__(
        self,
        dim: int,
        num_classes: int | None = None,
        width: int = 128,
        depth: int = 3,
        embedding: int | None = None,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        check_positive("an mlp", {"dim": dim, "width": width, "depth": depth})
        self.dim = dim
        self.num_classes = num_classes
        self.checkpointing = checkpointing
        self.embed = ConditionEmbedding("mlp", 64, width, num_classes, embedding)
        self.enter = nn.Linear(dim, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, dim))

    @classmethod
    def options_for(cls, shape: Sequence[int], num_classes: int | None) -> dict[str, Any]:
        return {"dim": math.prod(shape), "num_classes": num_classes}

    def null(self, batch: int) -> Tensor | None:
        return self.embed.null(batch)

    def encode(self, cond: Tensor | Encoded) -> Tensor | Encoded:
        return self.embed.encode(cond)

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | Encoded | None = None) -> Tensor:
        flat = flattened("mlp", x, self.dim)
        embedding = self.embed(t, self.null(len(x)) if cond is None else cond)
        hidden = self.enter(flat)
        for block in self.blocks:
            hidden = recomputed(block, hidden, embedding) if self.checkpointing else block(hidden, embedding)
        return self.leave(hidden).reshape(x.shape)


def flattened(owner: str, x: Tensor, dim: int) -> Tensor:
    """Samples (B, *) as (B, dim); ValueError unless they have so many entries."""
    if x.ndim < 2:
        raise ValueError(f"this {owner} takes samples of shape (B, *), a batch of them, not {tuple(x.shape)}")
    flat = x.flatten(1)
    if flat.shape[1] != dim:
        raise ValueError(f"this {owner} takes samples of {dim} entries, not of shape {tuple(x.shape[1:])}")
    return flat


class Block(nn.Module):
    """``h + W2 silu(W1 (norm(h) (1 + scale) + shift))``, scale and shift linear in the embedding."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulate = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))
        self.body = nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), zero(nn.Linear(2 * width, width)))

    def forward(self, hidden: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.modulate(embedding).chunk(2, dim=1)
        return hidden + self.body(self.norm(hidden) * (1 + scale) + shift)
