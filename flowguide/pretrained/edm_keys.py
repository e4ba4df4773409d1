r"""Where the tensors of our networks are in the files of EDM, and what the names and shapes in one tell.

N is height and width of the images at a level; everything is under ``model``.

=======================================  =================================================================
here                                     there
=======================================  =================================================================
``embed.time.1``, ``.3`` of unet         ``map_layer0``, ``map_layer1``
``embed.0``, ``.2`` of ddpmpp            the same, of features :math:`[\sin, \cos]` in place of ours
``embed.label``, ``label.label``         ``map_label``, a matrix with a column per label
``enter``                                ``enc.NxN_conv``
``down.M``                               ``enc.NxN_down``, and then ``enc.NxN_block0``, ...
``middle.0``, ``.1``                     ``dec.NxN_in0``, ``dec.NxN_in1``
``up.M``                                 ``dec.NxN_block0``, ..., and then ``dec.NxN_up`` of the level above
``leave.0``, ``.2`` of unet              ``out_norm``, ``out_conv``
``leave.0``, ``.2`` of ddpmpp            ``dec.NxN_aux_norm``, ``dec.NxN_aux_conv``
``block.enter.0``, ``.2``                ``norm0``, ``conv0``
``block.modulate``, ``.norm``            ``affine``, ``norm1``
``block.leave.2``, ``.shortcut``         ``conv1``, ``skip``
``attention.norm``, ``.leave``           ``norm2``, ``proj``
``attention.project``                    ``qkv``, whose channels are by heads, then by place, then query, key and value
=======================================  =================================================================
"""

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..networks.blocks import Stage
from ..networks.unet import UNet
from .base import Place

_BLOCK = {
    "block.enter.0": "norm0",
    "block.enter.2": "conv0",
    "block.modulate": "affine",
    "block.norm": "norm1",
    "block.leave.2": "conv1",
    "block.shortcut": "skip",
    "attention.norm": "norm2",
    "attention.project": "qkv",
    "attention.leave": "proj",
}
HEAD_WIDTH = 64  # of ADM there; DDPM++ has one head


def network_options(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Any], int]:
    """The network that shapes tell, with its name, and the height of its images.

    Raises:
        ValueError: if they are of no network of EDM's, or of one that is not here.
    """
    found = {int(side[1]) for name in tensors if (side := re.match(r"model\.enc\.(\d+)x\1_", name))}
    sides = sorted(found, reverse=True)
    if not sides:
        raise ValueError("model.enc.NxN_conv.weight is missing, which every file of this kind has")
    if sides != [sides[0] >> level for level in range(len(sides))]:
        raise ValueError(f"its levels are of {', '.join(map(str, sides))} pixels, and each should halve the one before")
    if "model.map_noise.freqs" in tensors or any(re.match(r"model\.enc\.\d+x\d+_aux_", name) for name in tensors):
        raise ValueError("it is a NCSN++, which has no network here: of EDM's there are ADM and DDPM++")
    top = f"{sides[0]}x{sides[0]}"
    adm = "model.out_norm.weight" in tensors
    width = _shape(tensors, "model.map_layer0.weight", 2)[1]
    stem, channels = _shape(tensors, f"model.enc.{top}_conv.weight", 4)[:2]
    outputs = [_shape(tensors, f"model.enc.{s}x{s}_block0.conv0.weight", 4)[0] for s in sides]
    for each in outputs:
        if each % width:
            raise ValueError(f"a level has {each} channels, which is no multiple of the {width} of the time features")
    options = {
        "name": "unet" if adm else "ddpmpp",
        "channels": channels,
        "num_classes": _shape(tensors, "model.map_label.weight", 2)[1] if "model.map_label.weight" in tensors else None,
        "width": width,
        "multipliers": [each // width for each in outputs],
        "blocks": sum(f"model.enc.{top}_block{n}.conv0.weight" in tensors for n in range(len(tensors))),
        "attention": [n for n, s in enumerate(sides) if f"model.enc.{s}x{s}_block0.qkv.weight" in tensors],
        "time_scale": 1.0,
    }
    more = {"stem": stem, "head_width": HEAD_WIDTH, "middle_attention": True, "resampling": "residual"}
    return {**options, **(more if adm else {"heads": 1})}, sides[0]


def places(network: nn.Module, side: int) -> dict[str, Place]:
    """The place of every tensor of a network made from such a file, with labels as :func:`label_table` has them."""
    adm, top = isinstance(network, UNet), f"{side}x{side}"
    layers = {"embed.time.1": "map_layer0", "embed.time.3": "map_layer1", "embed.label": "map_label"}
    layers |= {"embed.0": "map_layer0", "embed.2": "map_layer1", "label.label": "map_label"}
    layers |= {"enter": f"enc.{top}_conv"}
    if adm:
        layers |= {"leave.0": "out_norm", "leave.2": "out_conv"}
    else:
        layers |= {"leave.0": f"dec.{top}_aux_norm", "leave.2": f"dec.{top}_aux_conv"}
    changes = {} if adm else {"embed.0.weight": swapped}
    for ours, theirs, stage in _stages(network, side):
        layers |= {f"{ours}.{a}": f"{theirs}.{b}" for a, b in _BLOCK.items()}
        if stage.attention is not None:
            by_kind = functools.partial(_by_kind, heads=stage.attention.heads)
            changes |= {f"{ours}.attention.project.{kind}": by_kind for kind in ("weight", "bias")}
    found = {}
    for name in network.state_dict():
        layer, _, kind = name.rpartition(".")
        found[name] = Place(f"model.{layers[layer]}.{kind}", change=changes.get(name))
    return found


def filters(network: nn.Module, side: int) -> Iterator[str]:
    """The names of the filters by which blocks change the resolution."""
    for _, theirs, stage in _stages(network, side):
        if stage.block.resample is not None:
            yield from (f"model.{theirs}.{layer}.resample_filter" for layer in ("conv0", "skip"))


def label_table(tensors: Mapping[str, Tensor], adm: bool, null: bool) -> Tensor:
    r"""A row per label, and one for none, if there is.

    A label is a vector :math:`y` with a single one, and none is zeros: ADM adds W y to the embedding, and DDPM++ adds
    :math:`\sqrt n\, W y + b` to the features of time, n the number of labels.
    """
    matrix = tensors["model.map_label.weight"].float()
    rows = torch.cat([matrix.T, matrix.new_zeros(int(null), len(matrix))])
    if adm:
        return rows
    bias = tensors.get("model.map_label.bias")
    if bias is None or bias.shape != matrix.shape[:1]:
        raise ValueError(f"model.map_label.bias should have the shape ({len(matrix)},), as this architecture needs")
    return swapped(matrix.shape[1] ** 0.5 * rows + bias.float())


def swapped(matrix: Tensor) -> Tensor:
    """Columns for features [cos, sin], from those for [sin, cos]."""
    return torch.cat(matrix.chunk(2, dim=1)[::-1], dim=1)


def _by_kind(theirs: Tensor, heads: int) -> Tensor:
    """Rows of all queries, all keys and all values, each by heads, from rows by heads, place and kind."""
    return theirs.unflatten(0, (heads, -1, 3)).movedim(2, 0).flatten(0, 2)


def _stages(network: nn.Module, side: int) -> Iterator[tuple[str, str, Stage]]:
    """The stages of a network with their names here and there."""
    level = block = 0
    for half, layers in (("enc", network.down), ("dec", network.up)):
        for n, stage in enumerate(layers):
            if stage.block.resample is not None:
                level, block = level + (1 if half == "enc" else -1), 0
            there = f"{half}.{side >> level}x{side >> level}_"
            there += {None: f"block{block}"}.get(stage.block.resample, stage.block.resample)
            block += stage.block.resample is None
            yield f"{'down' if half == 'enc' else 'up'}.{n}", there, stage
        if half == "enc":
            block = 0
            for n, stage in enumerate(network.middle):
                yield f"middle.{n}", f"dec.{side >> level}x{side >> level}_in{n}", stage


def _shape(tensors: Mapping[str, Tensor], name: str, dimensions: int) -> Sequence[int]:
    if name not in tensors:
        raise ValueError(f"{name} is missing, which every file of this kind has")
    if tensors[name].ndim != dimensions:
        raise ValueError(f"{name} has the shape {tuple(tensors[name].shape)}, and should have {dimensions} dimensions")
    return tensors[name].shape
