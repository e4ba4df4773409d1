"""The networks of EDM stated once more: layout of the files, pickles and denoiser, in functions of torch.

Written from Karras et al. (2022), arXiv 2206.00364, and the names and shapes in the published files. It shares nothing
with flowguide. ``Facts`` are what a random file is made of.
"""

import math
import pickle
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

State = dict[str, Tensor]


@dataclass(frozen=True)
class Facts:
    """A network: ``adm`` or DDPM++, with attention at these ``sides``."""

    adm: bool
    width: int
    multipliers: tuple[int, ...]
    blocks: int
    sides: tuple[int, ...] = ()
    size: int = 8
    classes: int = 0
    augmented: int = 0
    channels: int = 3


def heads_of(facts: Facts, channels: int) -> int:
    return channels // 64 if facts.adm else 1


def stages(facts: Facts):
    """Every block of the network, in order: its name, channels in and out, and what else it does."""
    widths = [facts.width * m for m in facts.multipliers]
    current = widths[0] if facts.adm else facts.width
    skips = [current]
    for level, width in enumerate(widths):
        side = facts.size >> level
        if level:
            yield f"enc.{side}x{side}_down", current, current, False, "down"
            skips.append(current)
        for n in range(facts.blocks):
            yield f"enc.{side}x{side}_block{n}", current, width, side in facts.sides, None
            current = width
            skips.append(width)
    for n in range(2):
        yield f"dec.{side}x{side}_in{n}", current, current, n == 0, None
    for level, width in reversed(list(enumerate(widths))):
        side = facts.size >> level
        if level < len(widths) - 1:
            yield f"dec.{side}x{side}_up", current, current, False, "up"
        for n in range(facts.blocks + 1):
            attends = side in facts.sides and (facts.adm or n == facts.blocks)
            yield f"dec.{side}x{side}_block{n}", current + skips.pop(), width, attends, None
            current = width


def random_state(facts: Facts, seed: int = 0, device: str = "cpu") -> State:
    """A state dict with random numbers in the published layout; on the device "meta", of names and shapes alone."""
    g, state = torch.Generator().manual_seed(seed), {}

    def randn(*shape: int) -> Tensor:
        return torch.empty(shape, device=device) if device == "meta" else torch.randn(shape, generator=g)

    def put(name: str, *shape: int, norm: bool = False, bias: bool = True) -> None:
        fan_in = max(1, math.prod(shape[1:]))
        state[f"model.{name}.weight"] = randn(*shape) * (0.2 if norm else fan_in**-0.5) + norm
        if bias:
            state[f"model.{name}.bias"] = randn(shape[0]) * 0.1

    embedding, top = 4 * facts.width, f"{facts.size}x{facts.size}"
    put("map_layer0", embedding, facts.width)
    put("map_layer1", embedding, embedding)
    if facts.classes:
        put("map_label", embedding if facts.adm else facts.width, facts.classes, bias=not facts.adm)
    if facts.augmented:
        put("map_augment", facts.width, facts.augmented, bias=False)
    put(f"enc.{top}_conv", facts.width * (facts.multipliers[0] if facts.adm else 1), facts.channels, 3, 3)
    for name, inputs, outputs, attends, resample in stages(facts):
        put(f"{name}.norm0", inputs, norm=True)
        put(f"{name}.conv0", outputs, inputs, 3, 3)
        put(f"{name}.affine", outputs * (2 if facts.adm else 1), embedding)
        put(f"{name}.norm1", outputs, norm=True)
        put(f"{name}.conv1", outputs, outputs, 3, 3)
        if inputs != outputs or (resample and not facts.adm):
            put(f"{name}.skip", outputs, inputs, 1, 1)
        if resample:
            for layer in ("conv0", "skip"):
                state[f"model.{name}.{layer}.resample_filter"] = torch.full((1, 1, 2, 2), 0.25, device=device)
        if attends:
            put(f"{name}.norm2", outputs, norm=True)
            put(f"{name}.qkv", 3 * outputs, outputs, 1, 1)
            put(f"{name}.proj", outputs, outputs, 1, 1)
    last = ("out_norm", "out_conv") if facts.adm else (f"dec.{top}_aux_norm", f"dec.{top}_aux_conv")
    put(last[0], facts.width * facts.multipliers[0], norm=True)
    put(last[1], facts.channels, facts.width * facts.multipliers[0], 3, 3)
    return state


def denoise(state: State, facts: Facts, x: Tensor, sigma: Tensor, y: Tensor | None = None) -> Tensor:
    """D(x; sigma), with sigma_data = 0.5; no label is a vector of zeros."""
    sigma = sigma.reshape(-1, 1, 1, 1)
    skip, out = 0.25 / (sigma**2 + 0.25), sigma * 0.5 / (sigma**2 + 0.25).sqrt()
    return skip * x + out * forward(state, facts, x / (sigma**2 + 0.25).sqrt(), sigma.flatten().log() / 4, y)


def forward(state: State, facts: Facts, x: Tensor, told: Tensor, y: Tensor | None = None) -> Tensor:
    """F."""
    epsilon, scale = (1e-5, 1.0) if facts.adm else (1e-6, 0.5**0.5)

    def linear(name: str, h: Tensor) -> Tensor:
        return h @ state[f"model.{name}.weight"].T + state.get(f"model.{name}.bias", torch.tensor(0.0))

    def convolution(name: str, h: Tensor) -> Tensor:
        weight = state[f"model.{name}.weight"]
        return functional.conv2d(h, weight, state[f"model.{name}.bias"], padding=weight.shape[-1] // 2)

    def norm(name: str, h: Tensor) -> Tensor:
        grouped = h.reshape(len(h), min(32, h.shape[1] // 4), -1)
        centred = grouped - grouped.mean(2, keepdim=True)
        h = (centred / (centred.square().mean(2, keepdim=True) + epsilon).sqrt()).reshape(h.shape)
        weight, bias = (state[f"model.{name}.{kind}"].reshape(1, -1, 1, 1) for kind in ("weight", "bias"))
        return h * weight + bias

    def silu(h: Tensor) -> Tensor:
        return h * torch.sigmoid(h)

    def resampled(h: Tensor, resample: str | None) -> Tensor:
        if resample == "up":
            return h.repeat_interleave(2, 2).repeat_interleave(2, 3)
        if resample == "down":
            return (h[:, :, ::2, ::2] + h[:, :, 1::2, ::2] + h[:, :, ::2, 1::2] + h[:, :, 1::2, 1::2]) / 4
        return h

    def stage(name: str, h: Tensor, attends: bool, resample: str | None) -> Tensor:
        inner = convolution(f"{name}.conv0", resampled(silu(norm(f"{name}.norm0", h)), resample))
        told = linear(f"{name}.affine", embedding)[:, :, None, None]
        if facts.adm:
            inner = norm(f"{name}.norm1", inner) * (1 + told.chunk(2, 1)[0]) + told.chunk(2, 1)[1]
        else:
            inner = norm(f"{name}.norm1", inner + told)
        inner = convolution(f"{name}.conv1", silu(inner))
        shortcut = resampled(h, resample)
        if f"model.{name}.skip.weight" in state:
            shortcut = convolution(f"{name}.skip", shortcut)
        h = (shortcut + inner) * scale
        if not attends:
            return h
        batch, channels, heads = len(h), h.shape[1], heads_of(facts, h.shape[1])
        projected = convolution(f"{name}.qkv", norm(f"{name}.norm2", h)).reshape(batch, heads, channels // heads, 3, -1)
        q, k, v = projected.unbind(3)
        weights = torch.softmax(q.mT @ k / (channels // heads) ** 0.5, dim=3)
        mixed = (v @ weights.mT).reshape(h.shape)
        return (h + convolution(f"{name}.proj", mixed)) * scale

    half = facts.width // 2
    span = half if facts.adm else half - 1
    frequencies = torch.tensor([10000.0 ** (-i / span) for i in range(half)], dtype=torch.float64)
    angles = told.double()[:, None] * frequencies
    features = [angles.cos(), angles.sin()] if facts.adm else [angles.sin(), angles.cos()]
    features = torch.cat(features, 1).to(x.dtype)
    label = 0.0
    if facts.classes:
        vector = torch.zeros(len(x), facts.classes)
        if y is not None:
            vector[torch.arange(len(x)), y] = 1
        label = linear("map_label", vector * (1 if facts.adm else facts.classes**0.5))
    if facts.adm:
        embedding = silu(linear("map_layer1", silu(linear("map_layer0", features))) + label)
    else:
        embedding = silu(linear("map_layer1", silu(linear("map_layer0", features + label))))

    top = f"{facts.size}x{facts.size}"
    h = convolution(f"enc.{top}_conv", x)
    skips = [h]
    for name, inputs, _, attends, resample in stages(facts):
        if name.startswith("enc"):
            h = stage(name, h, attends, resample)
            skips.append(h)
        else:
            h = h if h.shape[1] == inputs else torch.cat([h, skips.pop()], 1)
            h = stage(name, h, attends, resample)
    last = ("out_norm", "out_conv") if facts.adm else (f"dec.{top}_aux_norm", f"dec.{top}_aux_conv")
    return convolution(last[1], silu(norm(last[0], h)))


SOURCE = "raise RuntimeError('the source code in a file was run')"


def write_pickle(file: Path, state: State, options: dict, class_name: str = "EDMPrecond", **beside) -> Path:
    """A file as EDM publishes it: objects with their source code, rebuilt by a function of ``torch_utils``."""
    utils, persistence = types.ModuleType("torch_utils"), types.ModuleType("torch_utils.persistence")
    dnnlib, util = types.ModuleType("dnnlib"), types.ModuleType("dnnlib.util")
    reconstruct = types.FunctionType((lambda meta: None).__code__, {}, "_reconstruct_persistent_obj")
    reconstruct.__qualname__, reconstruct.__module__ = "_reconstruct_persistent_obj", "torch_utils.persistence"
    persistence._reconstruct_persistent_obj = reconstruct
    util.EasyDict = type("EasyDict", (dict,), {"__module__": "dnnlib.util"})

    class Persistent(nn.Module):
        _init_kwargs: dict

        def __reduce__(self):
            described = {"type": "class", "version": 6, "module_src": SOURCE, "class_name": self.called}
            return reconstruct, (described | {"state": dict(self.__dict__)},)

    def tree(prefix: str, names: list[str], called: str) -> Persistent:
        made = Persistent()
        made.called, made._init_args, made._init_kwargs = called, (), {}
        children: dict[str, list[str]] = {}
        for name in names:
            child, _, rest = name.partition(".")
            if rest:
                children.setdefault(child, []).append(rest)
            elif name == "resample_filter":
                made.register_buffer(name, state[prefix + name])
            else:
                made.register_parameter(name, nn.Parameter(state[prefix + name]))
        for child, rest in children.items():
            part = tree(f"{prefix}{child}.", rest, "Layer")
            made.add_module(child, part if child not in ("enc", "dec") else nn.ModuleDict(part._modules))
        return made

    network = tree("", list(state), class_name)
    network._init_kwargs = options
    network.absent = None
    network.model.register_parameter("absent", None)
    modules = {each.__name__: each for each in (utils, persistence, dnnlib, util)}
    sys.modules |= modules
    try:
        content = {"ema": network, "dataset_kwargs": util.EasyDict(path="images.zip"), "loss_fn": None, **beside}
        file.write_bytes(pickle.dumps(content))
    finally:
        for name in modules:
            del sys.modules[name]
    return file
