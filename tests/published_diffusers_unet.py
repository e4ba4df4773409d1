"""The UNet2DModel of diffusers stated once more: its config, the layout of its folder and its forward pass.

Written from Ho et al. (2020), arXiv 2006.11239, Dhariwal & Nichol (2021), arXiv 2105.05233, and the names, shapes and
entries in the published folders. It shares nothing with flowguide: a config is all that a network is made of here.
"""

import json
import math
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

State = dict[str, Tensor]

# As google/ddpm-cifar10-32 and openai/diffusers-cd_imagenet64_l2 have it, and narrower.
DDPM = {
    "_class_name": "UNet2DModel",
    "_diffusers_version": "0.0.4",
    "act_fn": "silu",
    "attention_head_dim": None,
    "block_out_channels": [16, 32, 24],
    "center_input_sample": False,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D"],
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "in_channels": 3,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-6,
    "norm_num_groups": 8,
    "out_channels": 3,
    "sample_size": 16,
    "time_embedding_type": "positional",
    "up_block_types": ["UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
}
ADM = DDPM | {
    "add_attention": True,
    "attention_head_dim": 8,
    "attn_norm_num_groups": 8,
    "block_out_channels": [16, 32],
    "class_embed_type": None,
    "down_block_types": ["ResnetDownsampleBlock2D", "AttnDownBlock2D"],
    "downsample_padding": 1,
    "downsample_type": "resnet",
    "dropout": 0.1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "layers_per_block": 1,
    "norm_eps": 1e-5,
    "num_class_embeds": 6,
    "num_train_timesteps": None,
    "out_channels": 6,
    "resnet_time_scale_shift": "scale_shift",
    "sample_size": [8, 16],
    "up_block_types": ["AttnUpBlock2D", "ResnetUpsampleBlock2D"],
    "upsample_type": "resnet",
}
OLDER = {"to_out.0": "proj_attn", "to_q": "query", "to_k": "key", "to_v": "value"}


def layers(config: dict):
    """Every layer between the first and the last convolution, in order: kind, name, channels in and out."""
    widths, count = config["block_out_channels"], config["layers_per_block"]
    current, skips = widths[0], [widths[0]]

    def attends(way: str, level: int) -> bool:
        return config[f"{way}_block_types"][level].startswith("Attn")

    by_block = config.get("downsample_type") == "resnet"
    for level, width in enumerate(widths):
        for n in range(count):
            yield "block", f"down_blocks.{level}.resnets.{n}", current, width
            if attends("down", level):
                yield "attention", f"down_blocks.{level}.attentions.{n}", width, width
            yield "keep", "", 0, 0
            current = width
            skips.append(width)
        if level < len(widths) - 1:
            yield "block down" if by_block else "down", f"down_blocks.{level}.downsamplers.0", width, width
            yield "keep", "", 0, 0
            skips.append(width)
    yield "block", "mid_block.resnets.0", current, current
    if config.get("add_attention", True):
        yield "attention", "mid_block.attentions.0", current, current
    yield "block", "mid_block.resnets.1", current, current
    for level, width in enumerate(widths[::-1]):
        for n in range(count + 1):
            yield "join", "", 0, 0
            yield "block", f"up_blocks.{level}.resnets.{n}", current + skips.pop(), width
            if attends("up", level):
                yield "attention", f"up_blocks.{level}.attentions.{n}", width, width
            current = width
        if level < len(widths) - 1:
            yield "block up" if by_block else "up", f"up_blocks.{level}.upsamplers.0", width, width


def random_state(config: dict, seed: int = 0) -> State:
    """A state dict with random numbers in the published layout."""
    g, state = torch.Generator().manual_seed(seed), {}

    def put(name: str, *shape: int, norm: bool = False) -> None:
        fan_in = max(1, math.prod(shape[1:]))
        state[f"{name}.weight"] = torch.randn(shape, generator=g) * (0.2 if norm else fan_in**-0.5) + norm
        state[f"{name}.bias"] = torch.randn(shape[0], generator=g) * 0.1

    width = config["block_out_channels"][0]
    put("conv_in", width, config["in_channels"], 3, 3)
    put("time_embedding.linear_1", 4 * width, width)
    put("time_embedding.linear_2", 4 * width, 4 * width)
    if config.get("num_class_embeds"):
        state["class_embedding.weight"] = torch.randn(config["num_class_embeds"], 4 * width, generator=g)
    for kind, name, inputs, outputs in layers(config):
        if kind.startswith("block"):
            put(f"{name}.norm1", inputs, norm=True)
            put(f"{name}.conv1", outputs, inputs, 3, 3)
            put(f"{name}.time_emb_proj", outputs * (1 + (config.get("resnet_time_scale_shift") is not None)), 4 * width)
            put(f"{name}.norm2", outputs, norm=True)
            put(f"{name}.conv2", outputs, outputs, 3, 3)
            if inputs != outputs:
                put(f"{name}.conv_shortcut", outputs, inputs, 1, 1)
        elif kind == "attention":
            put(f"{name}.group_norm", outputs, norm=True)
            for part in ("to_q", "to_k", "to_v", "to_out.0"):
                put(f"{name}.{part}", outputs, outputs)
        elif kind in ("up", "down"):
            put(f"{name}.conv", outputs, inputs, 3, 3)
    put("conv_norm_out", width, norm=True)
    put("conv_out", config["out_channels"], width, 3, 3)
    return state


def write(folder: Path, config: dict, state: State, older: bool = False) -> Path:
    """The folder; with the names that attention had in ``older`` ones."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    if older:
        names = {name: name for name in state}
        for now, then in OLDER.items():
            names = {name: called.replace(f".{now}.", f".{then}.") for name, called in names.items()}
        torch.save({names[name]: tensor for name, tensor in state.items()}, folder / "diffusion_pytorch_model.bin")
    else:
        from safetensors.torch import save_file

        save_file(state, folder / "diffusion_pytorch_model.safetensors")
    return folder


def forward(state: State, config: dict, x: Tensor, steps: Tensor, y: Tensor | None = None) -> Tensor:
    """The published forward pass."""

    def linear(name: str, h: Tensor) -> Tensor:
        return h @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def convolution(name: str, h: Tensor, stride: int = 1, padding: int | None = None) -> Tensor:
        weight = state[f"{name}.weight"]
        padding = weight.shape[-1] // 2 if padding is None else padding
        return functional.conv2d(h, weight, state[f"{name}.bias"], stride=stride, padding=padding)

    def norm(name: str, h: Tensor) -> Tensor:
        grouped = h.reshape(len(h), config["norm_num_groups"], -1)
        centred = grouped - grouped.mean(2, keepdim=True)
        h = (centred / (centred.square().mean(2, keepdim=True) + config["norm_eps"]).sqrt()).reshape(h.shape)
        return h * state[f"{name}.weight"].reshape(1, -1, 1, 1) + state[f"{name}.bias"].reshape(1, -1, 1, 1)

    def silu(h: Tensor) -> Tensor:
        return h * torch.sigmoid(h)

    def resampled(h: Tensor, kind: str) -> Tensor:
        if kind.endswith("up"):
            return h.repeat_interleave(2, 2).repeat_interleave(2, 3)
        if kind.endswith("down"):
            return (h[:, :, ::2, ::2] + h[:, :, 1::2, ::2] + h[:, :, ::2, 1::2] + h[:, :, 1::2, 1::2]) / 4
        return h

    def block(kind: str, name: str, h: Tensor) -> Tensor:
        inner = convolution(f"{name}.conv1", resampled(silu(norm(f"{name}.norm1", h)), kind))
        told = linear(f"{name}.time_emb_proj", silu(embedding))[:, :, None, None]
        if config.get("resnet_time_scale_shift") == "scale_shift":
            scale, shift = told.chunk(2, 1)
            inner = norm(f"{name}.norm2", inner) * (1 + scale) + shift
        else:
            inner = norm(f"{name}.norm2", inner + told)
        h = resampled(h, kind)
        if f"{name}.conv_shortcut.weight" in state:
            h = convolution(f"{name}.conv_shortcut", h)
        return h + convolution(f"{name}.conv2", silu(inner))

    def attention(name: str, h: Tensor) -> Tensor:
        tokens, channels = norm(f"{name}.group_norm", h).flatten(2).mT, h.shape[1]
        width = config["attention_head_dim"] or channels
        mixed = torch.empty_like(tokens)
        q, k, v = (linear(f"{name}.{part}", tokens) for part in ("to_q", "to_k", "to_v"))
        for start in range(0, channels, width):
            own = slice(start, start + width)
            weights = torch.softmax(q[:, :, own] @ k[:, :, own].mT / width**0.5, dim=2)
            mixed[:, :, own] = weights @ v[:, :, own]
        return h + linear(f"{name}.to_out.0", mixed).mT.reshape(h.shape)

    half = config["block_out_channels"][0] // 2
    frequencies = [10000.0 ** (-i / (half - config["freq_shift"])) for i in range(half)]
    angles = steps.double()[:, None] * torch.tensor(frequencies, dtype=torch.float64)
    order = [angles.cos(), angles.sin()] if config["flip_sin_to_cos"] else [angles.sin(), angles.cos()]
    features = torch.cat(order, 1).to(x.dtype)
    embedding = linear("time_embedding.linear_2", silu(linear("time_embedding.linear_1", features)))
    if y is not None:
        embedding = embedding + state["class_embedding.weight"][y]

    h = convolution("conv_in", x)
    skips = [h]
    for kind, name, _, _ in layers(config):
        if kind == "keep":
            skips.append(h)
        elif kind == "join":
            h = torch.cat([h, skips.pop()], 1)
        elif kind.startswith("block"):
            h = block(kind, name, h)
        elif kind == "attention":
            h = attention(name, h)
        elif kind == "up":
            h = convolution(f"{name}.conv", resampled(h, "up"))
        elif config["downsample_padding"]:
            h = convolution(f"{name}.conv", h, stride=2)
        else:  # zeros to the right and below
            beside = torch.cat([h, torch.zeros_like(h[:, :, :, :1])], 3)
            below = torch.cat([beside, torch.zeros_like(beside[:, :, :1])], 2)
            h = convolution(f"{name}.conv", below, stride=2, padding=0)
    return convolution("conv_out", silu(norm("conv_norm_out", h)))
