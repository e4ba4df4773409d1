r"""A transformer of patches of images: DiT, and SiT, which is the same network.

Patches become tokens by one linear map, the position of each is added, blocks of attention and a perceptron transform
them (:mod:`flowguide.networks.dit_blocks`), and a linear map makes patches of them again:

.. math:: h_0 = W\,\mathrm{patches}(x) + \mathrm{positions}, \qquad h_{i+1} = \mathrm{block}_i(h_i, c), \qquad
    c = \mathrm{mlp}(\mathrm{features}(t)) + \mathrm{embed}(y).

Nothing depends on the size of the images.

Source: Peebles & Xie (2022), arXiv 2212.09748; Ma et al. (2024), arXiv 2401.08740 (SiT); Chen et al. (2023),
arXiv 2310.00426 (attention to sequences); Darcet et al. (2023), arXiv 2309.16588 (registers).
"""

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .base import networks
from .beside import ImageNetwork
from .conditioning import Conditioning
from .dit_blocks import Block, Final
from .dit_design import PATCHES, SIZES, DiTDesign, Positions, Size
from .embedding import time_embedding
from .encoded import Encoded
from .layers import check_positive, recomputed
from .patches import Patches
from .positions import rotations, sines_and_cosines
from .transformer import Activation, Norm

_PUBLISHED = {"channels": 4, "num_classes": 1000, "learned_sigma": True}


@networks.register("dit")
class DiT(ImageNetwork):
    """Transformer of patches with adaLN-Zero, for images of any size that is a multiple of the patch.

    Args:
        channels: Image channels.
        num_classes: Number of labels, or null for none.
        embedding: Width of embeddings to be conditioned on in place of labels, or null.
        sequence: [length, width] of sequences to be conditioned on by cross-attention in place of labels, or null.
        size: "S", "B", "L" or "XL", as published: depth, width and heads; null for a small one.
        patch: Height and width of a patch.
        depth: Number of blocks, if not that of ``size``.
        width: Width of a token, if not that of ``size``.
        heads: Number of attention heads, if not that of ``size``.
        mlp_ratio: Width within a block's perceptron over ``width``.
        activation: Of the perceptron: "gelu" as published, or "swiglu".
        norm: "layer" normalisation as published, or "rms".
        qk_norm: Whether to normalise queries and keys, over each head.
        positions: "sincos" as published, "rope" for rotations of queries and keys, or "both".
        registers: Number of learned tokens beside the patches, which the output leaves out.
        learned_sigma: Whether to have as many output channels again, as published networks that predict a variance
            too: :meth:`all_outputs` gives them, and a call leaves them out.
        feed_epsilon: Of the norm before a block's perceptron: 1e-6 as published, 1e-5 in diffusers.
        time_scale: What t is multiplied by before its features: 1000 for t in [0, 1], 1 for published weights.
        closed_frequencies: Whether the last frequency of the features is 1/10000 itself (:class:`.TimeFeatures`).
        null_label: Whether there is a label that means "none"; if not, it cannot be evaluated without labels.
        extra_channels: Channels of an image beside the state, which is part of the condition (:meth:`.join`).
        checkpointing: Whether blocks keep no activations, and compute them again for gradients.
    """

    presets = MappingProxyType(
        {f"{size}/{patch}": {**_PUBLISHED, "size": size, "patch": patch} for size in SIZES if size for patch in PATCHES}
    )

    def __init__(
        self,
        channels: int,
        num_classes: int | None = None,
        embedding: int | None = None,
        sequence: Sequence[int] | None = None,
        size: Size | None = None,
        patch: int = 2,
        depth: int | None = None,
        width: int | None = None,
        heads: int | None = None,
        mlp_ratio: float = 4.0,
        activation: Activation = "gelu",
        norm: Norm = "layer",
        qk_norm: bool = False,
        positions: Positions = "sincos",
        registers: int = 0,
        learned_sigma: bool = False,
        feed_epsilon: float = 1e-6,
        time_scale: float = 1000.0,
        closed_frequencies: bool = False,
        null_label: bool = True,
        extra_channels: int = 0,
        checkpointing: bool = False,
    ) -> None:
        super().__init__("dit", num_classes, null_label, extra_channels)
        check_positive("a dit", {"channels": channels, "patch": patch})
        self.design = design = DiTDesign.of(
            size, depth, width, heads, mlp_ratio=mlp_ratio, positions=positions, registers=registers
        )
        self.patches = Patches("dit", channels, patch)
        self.checkpointing = checkpointing
        width, entries = design.width, channels * patch**2
        self.enter = nn.Linear(entries + extra_channels * patch**2, width)
        self.time = time_embedding(256, width, time_scale, closed_frequencies)
        self.condition = Conditioning("dit", width, num_classes, embedding, sequence, null_label)
        self.registers = nn.Parameter(torch.empty(registers, width)) if registers else None
        options = (width, design.heads, design.hidden, activation, norm, qk_norm, sequence is not None, feed_epsilon)
        self.blocks = nn.ModuleList(Block(*options) for _ in range(design.depth))
        self.leave = Final(width, 2 * entries if learned_sigma else entries, norm)
        self._initialise()

    @classmethod
    def options_for(cls, shape: Sequence[int], num_classes: int | None) -> dict[str, Any]:
        if len(shape) != 3:
            raise ValueError(
                f"a dit takes images, shape (channels, height, width), not samples of shape {tuple(shape)}"
            )
        return {"channels": shape[0], "num_classes": num_classes}

    @property
    def conditioning(self) -> Conditioning:
        return self.condition

    def encode_rest(self, rest: Tensor) -> Encoded:
        """Labels and embeddings as vectors; sequences as which tokens are present, and each block's keys and values."""
        encoded = super().encode_rest(rest)
        if self.condition.kind != "sequences":
            return encoded
        tokens, present = encoded
        return Encoded([present, *(block.cross.remember(tokens) for block in self.blocks)])

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | Encoded | None = None) -> Tensor:
        return self.all_outputs(x, t, cond)[:, : self.patches.channels]

    def all_outputs(self, x: Tensor, t: Tensor, cond: Tensor | Encoded | None = None) -> Tensor:
        """What a call gives and, after it, the channels of a learned variance: (B, C, H, W) or (B, 2 C, H, W)."""
        rows, columns = self.patches.grid(x)
        x, cond = self.told(x, cond)
        tokens = self.enter(self.patches.cut(x)).to(x.dtype)  # under autocast the sum of all blocks stays precise
        if self.design.positions != "rope":
            tokens = tokens + sines_and_cosines(rows, columns, self.design.width, tokens)
        registers = self.design.registers
        if self.registers is not None:
            tokens = torch.cat([self.registers.to(tokens.dtype).expand(len(x), -1, -1), tokens], dim=1)
        rotation = None
        if self.design.positions != "sincos":
            rotation = rotations(rows, columns, self.design.head_width, tokens, unmoved=registers)
        embedding, present, memories = self._conditions(t, cond)
        for block, memory in zip(self.blocks, memories, strict=True):
            inputs = (tokens, embedding, rotation, memory, present)
            tokens = recomputed(block, *inputs) if self.checkpointing else block(*inputs)
        return self.patches.join(self.leave(tokens[:, registers:], embedding), rows, columns)

    def _conditions(self, t: Tensor, cond: Encoded | None) -> tuple[Tensor, Tensor | None, Sequence[Any]]:
        """The embedding after its silu; which tokens of a sequence are present, and the memory of each block."""
        embedding = self.time(t.reshape(-1))
        if self.condition.kind == "sequences":
            present, *memories = cond
        else:
            present, memories = None, [None] * len(self.blocks)
            embedding = embedding + cond[0] if cond else embedding
        return functional.silu(embedding), present, memories

    def _initialise(self) -> None:
        """As published: uniform by Glorot, but embeddings normal, and what modulates or comes last zero."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        self.condition.initialise()
        for layer in (self.time[1], self.time[3]):
            nn.init.normal_(layer.weight, std=0.02)
        if self.registers is not None:
            nn.init.normal_(self.registers, std=0.02)
        for part in (*self.blocks, self.leave):
            part.initialise()
