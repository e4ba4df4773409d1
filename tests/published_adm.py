"""The networks of guided-diffusion stated once more: layout of the files, and forward pass, in functions of torch.

Written from Dhariwal & Nichol (2021), arXiv 2105.05233, and the names and shapes in the published files. It shares
nothing with flowguide. ``Facts`` are what the shapes in a file do not tell, and what a random file is made of.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

State = dict[str, Tensor]


@dataclass(frozen=True)
class Facts:
    """A network: ``head_width`` or ``heads``, ``order`` of attention, and what a random file of it is made of."""

    width: int
    multipliers: tuple[float, ...]
    blocks: int
    attention: tuple[int, ...]
    heads: int | None = None
    head_width: int | None = None
    order: str = "legacy"
    classes: int | None = None
    inputs: int = 3
    outputs: int = 6
    updown: bool = True
    scale_shift: bool = True
    size: int = 16
    pool: str | None = None

    def heads_of(self, channels: int) -> int:
        return self.heads or channels // self.head_width


def random_state(facts: Facts, seed: int = 0, device: str = "cpu") -> State:
    """A state dict with random numbers in the published layout; on the device "meta", of names and shapes alone."""
    g, state = torch.Generator().manual_seed(seed), {}

    def randn(*shape: int) -> Tensor:
        return torch.empty(shape, device=device) if device == "meta" else torch.randn(shape, generator=g)

    def put(name: str, *shape: int, norm: bool = False) -> None:
        fan_in = max(1, math.prod(shape[1:]))
        state[f"{name}.weight"] = randn(*shape) * (0.2 if norm else fan_in**-0.5) + norm
        state[f"{name}.bias"] = randn(shape[0]) * 0.1

    def residual(name: str, inputs: int, outputs: int) -> None:
        put(f"{name}.in_layers.0", inputs, norm=True)
        put(f"{name}.in_layers.2", outputs, inputs, 3, 3)
        put(f"{name}.emb_layers.1", outputs * (2 if facts.scale_shift else 1), 4 * facts.width)
        put(f"{name}.out_layers.0", outputs, norm=True)
        put(f"{name}.out_layers.3", outputs, outputs, 3, 3)
        if inputs != outputs:
            put(f"{name}.skip_connection", outputs, inputs, 1, 1)

    def attention(name: str, channels: int) -> None:
        put(f"{name}.norm", channels, norm=True)
        put(f"{name}.qkv", 3 * channels, channels, 1)
        put(f"{name}.proj_out", channels, channels, 1)

    put("time_embed.0", 4 * facts.width, facts.width)
    put("time_embed.2", 4 * facts.width, 4 * facts.width)
    if facts.classes and not facts.pool:
        state["label_emb.weight"] = randn(facts.classes, 4 * facts.width)
    widths = [int(m * facts.width) for m in facts.multipliers]
    put("input_blocks.0.0", widths[0], facts.inputs, 3, 3)
    current, skips, n = widths[0], [widths[0]], 1
    for level, width in enumerate(widths):
        for _ in range(facts.blocks):
            residual(f"input_blocks.{n}.0", current, width)
            if level in facts.attention:
                attention(f"input_blocks.{n}.1", width)
            current, n = width, n + 1
            skips.append(width)
        if level < len(widths) - 1:
            if facts.updown:
                residual(f"input_blocks.{n}.0", width, width)
            else:
                put(f"input_blocks.{n}.0.op", width, width, 3, 3)
            skips.append(width)
            n += 1
    residual("middle_block.0", current, current)
    attention("middle_block.1", current)
    residual("middle_block.2", current, current)
    if facts.pool:
        features, classes = sum(skips) + current, facts.classes
        if facts.pool in ("attention", "adaptive"):
            put("out.0", current, norm=True)
        if facts.pool == "attention":
            pixels = (facts.size // 2 ** (len(widths) - 1)) ** 2
            state["out.2.positional_embedding"] = randn(current, pixels + 1) / current**0.5
            put("out.2.qkv_proj", 3 * current, current, 1)
            put("out.2.c_proj", classes, current, 1)
        elif facts.pool == "adaptive":
            put("out.3", classes, current, 1, 1)
        else:
            put("out.0", 2048, features)
            if facts.pool == "spatial_v2":
                put("out.1", 2048, norm=True)
            put("out.2" if facts.pool == "spatial" else "out.3", classes, 2048)
        return state
    n = 0
    for level, width in reversed(list(enumerate(widths))):
        for i in range(facts.blocks + 1):
            residual(f"output_blocks.{n}.0", current + skips.pop(), width)
            if level in facts.attention:
                attention(f"output_blocks.{n}.1", width)
            current = width
            if level and i == facts.blocks:
                place = f"output_blocks.{n}.{2 if level in facts.attention else 1}"
                residual(place, width, width) if facts.updown else put(f"{place}.conv", width, width, 3, 3)
            n += 1
    put("out.0", current, norm=True)
    put("out.2", facts.outputs, widths[0], 3, 3)
    return state


def forward(state: State, facts: Facts, x: Tensor, steps: Tensor, y: Tensor | None = None) -> Tensor:
    """The published forward pass: noise and variance of a U-Net, or logits of a classifier."""

    def linear(name: str, h: Tensor) -> Tensor:
        return h @ state[f"{name}.weight"].flatten(1).T + state[f"{name}.bias"]

    def convolution(name: str, h: Tensor, stride: int = 1) -> Tensor:
        weight = state[f"{name}.weight"]
        return functional.conv2d(h, weight, state[f"{name}.bias"], stride=stride, padding=weight.shape[-1] // 2)

    def norm(name: str, h: Tensor) -> Tensor:
        grouped = h.reshape(len(h), 32, -1)
        centred = grouped - grouped.mean(2, keepdim=True)
        h = (centred / (centred.square().mean(2, keepdim=True) + 1e-5).sqrt()).reshape(h.shape)
        shape = (1, -1) + (1,) * (h.ndim - 2)
        return h * state[f"{name}.weight"].reshape(shape) + state[f"{name}.bias"].reshape(shape)

    def silu(h: Tensor) -> Tensor:
        return h * torch.sigmoid(h)

    def up(h: Tensor) -> Tensor:
        return h.repeat_interleave(2, 2).repeat_interleave(2, 3)

    def down(h: Tensor) -> Tensor:
        return (h[:, :, ::2, ::2] + h[:, :, 1::2, ::2] + h[:, :, ::2, 1::2] + h[:, :, 1::2, 1::2]) / 4

    def residual(name: str, h: Tensor, resample=None) -> Tensor:
        inner = silu(norm(f"{name}.in_layers.0", h))
        if resample is not None:
            inner, h = resample(inner), resample(h)
        inner = convolution(f"{name}.in_layers.2", inner)
        modulation = linear(f"{name}.emb_layers.1", silu(embedding))[:, :, None, None]
        if modulation.shape[1] == 2 * inner.shape[1]:
            scale, shift = modulation.chunk(2, 1)
            inner = norm(f"{name}.out_layers.0", inner) * (1 + scale) + shift
        else:
            inner = norm(f"{name}.out_layers.0", inner + modulation)
        inner = convolution(f"{name}.out_layers.3", silu(inner))
        if f"{name}.skip_connection.weight" in state:
            h = convolution(f"{name}.skip_connection", h)
        return h + inner

    def attend(projected: Tensor, heads: int, order: str) -> Tensor:
        """Projected tokens (B, N, 3C) to their mixtures (B, N, C)."""
        batch, tokens, channels = projected.shape[0], projected.shape[1], projected.shape[2] // 3
        mixed = torch.empty(batch, tokens, channels)
        width = channels // heads
        for head in range(heads):
            if order == "new":
                starts = [part * channels + head * width for part in range(3)]
            else:
                starts = [head * 3 * width + part * width for part in range(3)]
            q, k, v = (projected[:, :, start : start + width] for start in starts)
            weights = torch.softmax((q * width**-0.25) @ (k * width**-0.25).mT, dim=2)
            mixed[:, :, head * width : (head + 1) * width] = weights @ v
        return mixed

    def attention(name: str, h: Tensor) -> Tensor:
        tokens = norm(f"{name}.norm", h).flatten(2).mT
        heads = facts.heads_of(h.shape[1])
        mixed = attend(linear(f"{name}.qkv", tokens), heads, facts.order)
        return h + linear(f"{name}.proj_out", mixed).mT.reshape(h.shape)

    def block(name: str, h: Tensor, resample) -> Tensor:
        """Everything under one number of the layout, in order."""
        part = 0
        while True:
            here = f"{name}.{part}"
            if f"{here}.in_layers.0.weight" in state:
                h = residual(here, h, resample if part or resample is down else None)
            elif f"{here}.qkv.weight" in state:
                h = attention(here, h)
            elif f"{here}.op.weight" in state:
                h = convolution(f"{here}.op", h, stride=2)
            elif f"{here}.conv.weight" in state:
                h = convolution(f"{here}.conv", up(h))
            else:
                return h
            part += 1

    half = facts.width // 2
    frequencies = torch.tensor([math.exp(-math.log(10000) * i / half) for i in range(half)], dtype=torch.float64)
    angles = steps.double()[:, None] * frequencies
    features = torch.cat([angles.cos(), angles.sin()], 1).to(x.dtype)
    embedding = linear("time_embed.2", silu(linear("time_embed.0", features)))
    if y is not None:
        embedding = embedding + state["label_emb.weight"][y]

    h = convolution("input_blocks.0.0", x)
    skips, n = [h], 1
    for level in range(len(facts.multipliers)):
        for i in range(facts.blocks + (level < len(facts.multipliers) - 1)):
            h = block(f"input_blocks.{n}", h, down if i == facts.blocks else None)
            skips.append(h)
            n += 1
    h = residual("middle_block.2", attention("middle_block.1", residual("middle_block.0", h)))
    if facts.pool in ("spatial", "spatial_v2"):
        h = linear("out.0", torch.cat([each.mean((2, 3)) for each in (*skips, h)], 1))
        if facts.pool == "spatial":
            return linear("out.2", h.clamp(min=0))
        return linear("out.3", silu(norm("out.1", h)))
    if facts.pool is not None:
        tokens = silu(norm("out.0", h)).flatten(2).mT
        if facts.pool == "adaptive":
            return linear("out.3", tokens.mean(1))
        tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], 1) + state["out.2.positional_embedding"].T
        heads = facts.heads_of(h.shape[1])
        return linear("out.2.c_proj", attend(linear("out.2.qkv_proj", tokens), heads, "new"))[:, 0]
    for n in range(len(skips)):
        h = block(f"output_blocks.{n}", torch.cat([h, skips.pop()], 1), up)
    return convolution("out.2", silu(norm("out.0", h)))


def with_image(x: Tensor, image: Tensor) -> Tensor:
    """What an upsampler is shown: the state, and beside it the small image, enlarged bilinearly."""
    return torch.cat([x, functional.interpolate(image, x.shape[2:], mode="bilinear")], 1)
