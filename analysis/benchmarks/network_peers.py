"""Networks of others that do what ours do, with our weights, for the benchmark of networks.

The SiT here is a statement of the published one as it is built on timm's layers, from their description: a convolution
for the patches, queries, keys and values of one linear layer laid out head by head, dropouts of probability zero, and a
SiLU before the modulation of every block.
"""

import importlib.util
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from flowguide.networks.dit import DiT
from flowguide.networks.positions import sines_and_cosines

SIDE = 32  # of the images, which others have to know


class TimmAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.q_norm, self.k_norm, self.proj_drop = nn.Identity(), nn.Identity(), nn.Dropout(0.0)

    def forward(self, x: Tensor) -> Tensor:
        batch, count, width = x.shape
        q, k, v = self.qkv(x).reshape(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        x = functional.scaled_dot_product_attention(self.q_norm(q), self.k_norm(k), v)
        return self.proj_drop(self.proj(x.transpose(1, 2).reshape(batch, count, width)))


class SiTBlock(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(width, elementwise_affine=False, eps=1e-6) for _ in range(2))
        self.attn = TimmAttention(width, heads)
        layers = (nn.Linear(width, hidden), nn.GELU("tanh"), nn.Dropout(0.0), nn.Linear(hidden, width), nn.Dropout(0.0))
        self.mlp = nn.Sequential(*layers)
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(c).chunk(6, dim=1)
        x = x + gate1.unsqueeze(1) * self.attn(self.norm1(x) * (1 + scale1.unsqueeze(1)) + shift1.unsqueeze(1))
        return x + gate2.unsqueeze(1) * self.mlp(self.norm2(x) * (1 + scale2.unsqueeze(1)) + shift2.unsqueeze(1))


class SiT(nn.Module):
    """The published network, for the options that are published, with the weights of ours."""

    def __init__(self, ours: DiT) -> None:
        super().__init__()
        design, self.patch, channels = ours.design, ours.patches.size, ours.patches.channels
        self.time, self.table, self.channels = ours.time, ours.condition.label, channels
        self.embed = nn.Conv2d(channels, design.width, self.patch, stride=self.patch)
        side = SIDE // self.patch
        self.positions = nn.Parameter(sines_and_cosines(side, side, design.width, torch.empty(0)), requires_grad=False)
        options = (design.width, design.heads, design.hidden)
        self.blocks = nn.ModuleList(SiTBlock(*options) for _ in range(design.depth))
        self.norm = nn.LayerNorm(design.width, elementwise_affine=False, eps=1e-6)
        self.modulation = nn.Sequential(nn.SiLU(), ours.leave.modulate)
        self.linear = ours.leave.leave
        with torch.no_grad():
            self.embed.weight.copy_(ours.enter.weight.reshape(self.embed.weight.shape))
            self.embed.bias.copy_(ours.enter.bias)
        for mine, block in zip(self.blocks, ours.blocks, strict=True):
            mine.attn.qkv.load_state_dict(block.attention.project.state_dict())
            mine.attn.proj.load_state_dict(block.attention.leave.state_dict())
            mine.mlp[0].load_state_dict(block.feed.enter.state_dict())
            mine.mlp[3].load_state_dict(block.feed.leave.state_dict())
            mine.modulation[1].load_state_dict(block.modulate.state_dict())

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        x = self.embed(x).flatten(2).transpose(1, 2) + self.positions
        c = self.time(t) + self.table(y)
        for block in self.blocks:
            x = block(x, c)
        shift, scale = self.modulation(c).chunk(2, dim=1)
        x = self.linear(self.norm(x) * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1))
        x = x.reshape(batch, height // self.patch, width // self.patch, self.patch, self.patch, -1)
        return torch.einsum("nhwpqc->nchpwq", x).reshape(batch, -1, height, width).chunk(2, dim=1)[0]


def from_diffusers(ours: DiT) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """diffusers' DiTTransformer2DModel with the weights of ours."""
    from diffusers import DiTTransformer2DModel

    design = ours.design
    theirs = DiTTransformer2DModel(
        num_attention_heads=design.heads, attention_head_dim=design.head_width, in_channels=ours.patches.channels,
        out_channels=2 * ours.patches.channels, num_layers=design.depth, sample_size=SIDE,
        patch_size=ours.patches.size, num_embeds_ada_norm=ours.num_classes, norm_eps=1e-6,
    ).eval()  # fmt: skip
    pairs = [(theirs.proj_out_1, ours.leave.modulate), (theirs.proj_out_2, ours.leave.leave)]
    for mine, block in zip(theirs.transformer_blocks, ours.blocks, strict=True):
        embed = mine.norm1.emb
        embed.time_proj.downscale_freq_shift = 0  # the frequencies of the paper; diffusers' differ by a percent
        pairs += [
            (embed.timestep_embedder.linear_1, ours.time[1]), (embed.timestep_embedder.linear_2, ours.time[3]),
            (embed.class_embedder.embedding_table, ours.condition.label), (mine.norm1.linear, block.modulate),
            (mine.attn1.to_out[0], block.attention.leave), (mine.ff.net[0].proj, block.feed.enter),
            (mine.ff.net[2], block.feed.leave),
        ]  # fmt: skip
        for layer, part in zip((mine.attn1.to_q, mine.attn1.to_k, mine.attn1.to_v), range(3), strict=True):
            chosen = {name: p.chunk(3)[part] for name, p in block.attention.project.state_dict().items()}
            layer.load_state_dict(chosen)
    for layer, source in pairs:
        layer.load_state_dict(source.state_dict())
    theirs.pos_embed.proj.weight.data.copy_(ours.enter.weight.reshape(theirs.pos_embed.proj.weight.shape))
    theirs.pos_embed.proj.bias.data.copy_(ours.enter.bias)

    def call(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return theirs(x, timestep=t, class_labels=y, return_dict=False)[0].chunk(2, dim=1)[0]

    return call


def peers(ours: DiT) -> dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]]:
    """By name, those that there are."""
    found: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"SiT on timm's layers": SiT(ours)}
    if importlib.util.find_spec("diffusers") is None:
        print("diffusers is not installed, and left out: pip install 'flowguide[bench]'")
    else:
        found["diffusers"] = from_diffusers(ours)
    return found
