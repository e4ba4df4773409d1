"""Where the tensors of our U-Net and its encoder are in the files of guided-diffusion.

======================================  =========================================================
here                                    there
======================================  =========================================================
``embed.time.1``, ``.3``                ``time_embed.0``, ``.2``
``embed.label``                         ``label_emb``
``enter``                               ``input_blocks.0.0``
``down.N``                              ``input_blocks.(N + 1)``
``middle.0``, ``.1``                    ``middle_block.0`` with attention ``.1``, ``middle_block.2``
``up.N``, in order                      ``output_blocks.M.0``, and what resamples its last part
``leave.0``, ``.2``                     ``out.0``, ``.2``
``block.enter.0``, ``.2``               ``in_layers.0``, ``.2``
``block.modulate``                      ``emb_layers.1``
``block.norm``, ``block.leave.2``       ``out_layers.0``, ``.3``
``block.shortcut``                      ``skip_connection``
``attention.norm``, ``project``         ``norm``, ``qkv``
``attention.leave``                     ``proj_out``
======================================  =========================================================
"""

from collections.abc import Iterator

from torch import nn

from ..networks.blocks import Stage
from ..networks.unet import UNet
from ..networks.unet_encoder import UNetEncoder
from .base import Place

_BLOCK = {
    "enter.0": "in_layers.0",
    "enter.2": "in_layers.2",
    "modulate": "emb_layers.1",
    "norm": "out_layers.0",
    "leave.2": "out_layers.3",
    "shortcut": "skip_connection",
}
_ATTENTION = {"norm": "norm", "project": "qkv", "leave": "proj_out"}


def places(network: UNet | UNetEncoder) -> dict[str, Place]:
    """The place of every tensor of a network made from such a file."""
    layers = {"embed.time.1": "time_embed.0", "embed.time.3": "time_embed.2", "embed.label": "label_emb"}
    layers["enter"] = "input_blocks.0.0"
    for n, layer in enumerate(network.down):
        layers |= _layer(f"down.{n}", layer, f"input_blocks.{n + 1}", 0, "op")
    layers |= _stage("middle.0", "middle_block", 0, 1) | _stage("middle.1", "middle_block", 2, 3)
    layers |= dict(_ascent(network.up)) if isinstance(network, UNet) else {}
    found = {}
    if isinstance(network, UNetEncoder):
        layers |= _pool(network.pooling)
        if network.pooling == "attention_to_logits":
            found = _attention_pool(network)
    else:
        layers |= {"leave.0": "out.0", "leave.2": "out.2"}
    names = {f"{ours}.{kind}": f"{theirs}.{kind}" for ours, theirs in layers.items() for kind in ("weight", "bias")}
    return {name: found[name] if name in found else Place(names[name]) for name in network.state_dict()}


def _stage(ours: str, theirs: str, block: int, attention: int) -> dict[str, str]:
    return {f"{ours}.block.{a}": f"{theirs}.{block}.{b}" for a, b in _BLOCK.items()} | {
        f"{ours}.attention.{a}": f"{theirs}.{attention}.{b}" for a, b in _ATTENTION.items()
    }


def _layer(ours: str, layer: nn.Module, theirs: str, part: int, convolution: str) -> dict[str, str]:
    """A stage, or a convolution that resamples, which is called ``convolution`` there."""
    if isinstance(layer, Stage):
        return _stage(ours, theirs, part, part + 1)
    inner = f"{ours}.convolution" if convolution == "conv" else ours
    return {inner: f"{theirs}.{part}.{convolution}"}


def _ascent(up: nn.ModuleList) -> Iterator[tuple[str, str]]:
    block = -1
    last = 0  # part of the block there
    for n, layer in enumerate(up):
        if isinstance(layer, Stage) and layer.block.resample is None:
            block, last = block + 1, 0 if layer.attention is None else 1
            yield from _stage(f"up.{n}", f"output_blocks.{block}", 0, 1).items()
        else:
            yield from _layer(f"up.{n}", layer, f"output_blocks.{block}", last + 1, "conv").items()


def _pool(kind: str) -> dict[str, str]:
    return {
        "attention_to_logits": {"pool.enter.0": "out.0"},
        "adaptive": {"pool.0": "out.0", "leave": "out.3"},
        "spatial": {"pool": "out.0", "leave.1": "out.2"},
        "spatial_v2": {"pool.0": "out.0", "pool.1": "out.1", "leave.1": "out.3"},
    }[kind]


def _attention_pool(network: UNetEncoder) -> dict[str, Place]:
    width = network.design.widths[-1]
    found = {"pool.position": Place("out.2.positional_embedding", transposed=True)}
    for kind in ("weight", "bias"):
        found[f"pool.query.{kind}"] = Place(f"out.2.qkv_proj.{kind}", 0, width)
        found[f"pool.key_and_value.{kind}"] = Place(f"out.2.qkv_proj.{kind}", width)
        found[f"pool.leave.{kind}"] = Place(f"out.2.c_proj.{kind}")
    return found
