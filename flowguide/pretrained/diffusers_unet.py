"""The folders of diffusers that hold a UNet2DModel: google/ddpm-cifar10-32 and its kind, and ADM in their form.

======================================  =============================================================================
here                                    there, with L a level on the way down and K one on the way up
======================================  =============================================================================
``enter``                               ``conv_in``
``embed.time.1``, ``.3``                ``time_embedding.linear_1``, ``_2``; without ``flip_sin_to_cos`` of features
                                        [sin, cos] in place of ours
``embed.label``                         ``class_embedding``
``down.N``, ``up.N``                    ``down_blocks.L.resnets.n`` with ``attentions.n``, and last
                                        ``downsamplers.0``; ``up_blocks.K``, ``upsamplers.0`` likewise
``middle.0``, ``.1``                    ``mid_block.resnets.0`` with ``attentions.0``, ``mid_block.resnets.1``
``leave.0``, ``.2``                     ``conv_norm_out``, ``conv_out``
``block.enter.0``, ``.2``               ``norm1``, ``conv1``
``block.modulate``, ``.norm``           ``time_emb_proj``, ``norm2``
``block.leave.2``, ``.shortcut``        ``conv2``, ``conv_shortcut``
``attention.norm``                      ``group_norm``
``attention.project``                   ``to_q``, ``to_k``, ``to_v``; in older files ``query``, ``key``, ``value``
``attention.leave``                     ``to_out.0``; in older files ``proj_attn``
======================================  =============================================================================

Such networks are told timesteps of a schedule that is written elsewhere, in the folder of the scheduler: as a rule that
of DDPM with 1000 steps, and a prediction of the noise. Consistency models have the same networks (openai/diffusers-
cd_imagenet64_l2), and their output means something else, which the folder does not say: they are none of these.

Source: Ho, Jain & Abbeel (2020), arXiv 2006.11239; UNet2DModel of diffusers.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .. import networks
from ..networks.blocks import Stage
from .base import Imported, Place, formats, take
from .diffusers_unet_config import network_options, read_config, sides
from .edm_keys import swapped

_BLOCK = {
    "enter.0": "norm1",
    "enter.2": "conv1",
    "modulate": "time_emb_proj",
    "norm": "norm2",
    "leave.2": "conv2",
    "shortcut": "conv_shortcut",
}
_ATTENTION = {"norm": "group_norm", "leave": "to_out.0"}
_PARTS = ("to_q", "to_k", "to_v")
_OLDER = {"to_out.0": "proj_attn", "to_q": "query", "to_k": "key", "to_v": "value"}
_ENDS = {
    "enter": "conv_in",
    "embed.time.1": "time_embedding.linear_1",
    "embed.time.3": "time_embedding.linear_2",
    "embed.label": "class_embedding",
    "leave.0": "conv_norm_out",
    "leave.2": "conv_out",
}


@formats.register("diffusers_unet")
def diffusers_unet(
    tensors: Mapping[str, Tensor],
    config: Mapping[str, Any],
    schedule: Literal["linear", "cosine", "scaled_linear"] = "linear",
    predicts: Literal["noise", "data", "v"] = "noise",
    null_label: bool = False,
    size: Sequence[int] | None = None,
) -> Imported:
    """A folder of diffusers with a UNet2DModel: config.json and diffusion_pytorch_model.safetensors or .bin.

    Args:
        tensors: Of the folder.
        config: Its ``config.json``.
        schedule: Of the betas: ``beta_schedule`` in the folder ``scheduler``, where squaredcos_cap_v2 is "cosine".
        predicts: ``prediction_type`` there: epsilon is "noise", sample "data", v_prediction "v".
        null_label: Whether the last label is the one that means "none".
        size: [height, width] of the images; null for what the config says.
    Raises:
        ValueError: if the config is of another network, or a tensor is missing, left over or of another shape.
    """
    said = read_config(config)
    network = network_options(said, null_label)
    if size is not None and len(size) != 2:
        raise ValueError(f"size is [height, width], not {list(size)}")
    image = sides(said) if size is None else (size[0], size[1])
    with torch.device("meta"):  # for names and shapes alone
        skeleton = networks.registry.build_from(network)
    if image is not None:
        skeleton.design.check_size(image)
    older = any(name.endswith(".proj_attn.weight") for name in tensors)
    return Imported(
        network=network,
        path={"name": "ddpm", "schedule": schedule, "steps": said["num_train_timesteps"] or 1000},
        tensors=take(tensors, skeleton, _places(skeleton, older, said["flip_sin_to_cos"])),
        predicts=predicts,
        clock="timestep",
        shape=None if image is None else (said["in_channels"], *image),
    )


def _places(network: nn.Module, older: bool, flipped: bool) -> dict[str, Place]:
    """The place of every tensor of a network; ``flipped`` if cosines come first there too."""
    called = _OLDER if older else {}
    layers: dict[str, str | tuple[str, ...]] = dict(_ENDS)
    for ours, block, attention in _stages(network):
        layers |= {f"{ours}.block.{a}": f"{block}.{b}" for a, b in _BLOCK.items()}
        layers |= {f"{ours}.attention.{a}": f"{attention}.{called.get(b, b)}" for a, b in _ATTENTION.items()}
        layers[f"{ours}.attention.project"] = tuple(f"{attention}.{called.get(part, part)}" for part in _PARTS)
        # A convolution that changes the resolution, which is one layer and no block.
        layers |= {ours: f"{block}.conv", f"{ours}.convolution": f"{block}.conv"}
    found = {}
    for name in network.state_dict():
        layer, _, kind = name.rpartition(".")
        there = layers[layer]
        names = f"{there}.{kind}" if isinstance(there, str) else tuple(f"{part}.{kind}" for part in there)
        found[name] = Place(names, change=None if flipped or name != "embed.time.1.weight" else swapped)
    return found


def _stages(network: nn.Module) -> Iterator[tuple[str, str, str]]:
    """The layers of a network: our name, and there that of the block and of the attention after it."""
    for way, layers in (("down", network.down), ("up", network.up)):
        level = block = 0
        for n, layer in enumerate(layers):
            there = f"{way}_blocks.{level}"
            if isinstance(layer, Stage) and layer.block.resample is None:
                yield f"{way}.{n}", f"{there}.resnets.{block}", f"{there}.attentions.{block}"
                block += 1
            else:
                yield f"{way}.{n}", f"{there}.{way}samplers.0", ""
                level, block = level + 1, 0
    for n in range(len(network.middle)):
        yield f"middle.{n}", f"mid_block.resnets.{n}", f"mid_block.attentions.{n}"
