"""The folders of diffusers that hold a DiT: the network of a pipeline, as ``transformer`` of facebook/DiT-XL-2-256.

========================================  =====================================================================
here                                      there, with ``block`` for ``transformer_blocks.N``
========================================  =====================================================================
``enter``                                 ``pos_embed.proj``, the convolution of patches [W, C, p, p]
``time.1``, ``.3``                        ``block.norm1.emb.timestep_embedder.linear_1``, ``_2``, in every block
``condition.label.weight``                ``block.norm1.emb.class_embedder.embedding_table.weight``, likewise
``blocks.N.modulate``                     ``block.norm1.linear``
``blocks.N.attention.project``            ``block.attn1.to_q``, ``to_k``, ``to_v``
``blocks.N.attention.leave``              ``block.attn1.to_out.0``
``blocks.N.feed.enter``, ``.leave``       ``block.ff.net.0.proj``, ``block.ff.net.2``
``leave.modulate``, ``leave.leave``       ``proj_out_1``, ``proj_out_2``
========================================  =====================================================================

Every block has its own copy of what embeds time and label, and the last layer uses the first; here there is one, so the
copies have to be equal. Labels are ``num_embeds_ada_norm`` and one more, which means "none".

The network differs from the published one in two places. The frequencies of time are closed, 10000^(-i / 127) and not
10000^(-i / 128), although the weights in facebook/DiT-XL-2-256 are the published ones, trained with the others:
``closed_frequencies=false`` evaluates them as they were trained. And 1e-5, ``norm_eps``, is what the norm before the
perceptron adds to the variance. Positions are those of the original at ``sample_size``; at another size diffusers
stretches them to the same range, and here they count patches at every size.

Which schedule it was trained on is in another folder, ``scheduler``: that of DiT is linear, and the prediction noise.

Source: Peebles & Xie (2022), arXiv 2212.09748; DiTTransformer2DModel of diffusers.
"""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from .base import Imported, formats
from .diffusers_dit_config import read_config
from .dit_keys import take_all
from .dit_shapes import check_positions, check_size, has_variance, sized

_ENDS = {"enter": "pos_embed.proj", "leave.modulate": "proj_out_1", "leave.leave": "proj_out_2"}
_TIME = {"time.1": "timestep_embedder.linear_1", "time.3": "timestep_embedder.linear_2"}
_BLOCK: dict[str, str | tuple[str, ...]] = {
    "modulate": "norm1.linear",
    "attention.project": ("attn1.to_q", "attn1.to_k", "attn1.to_v"),
    "attention.leave": "attn1.to_out.0",
    "feed.enter": "ff.net.0.proj",
    "feed.leave": "ff.net.2",
}


@formats.register("diffusers_dit")
def diffusers_dit(
    tensors: Mapping[str, Tensor],
    config: Mapping[str, Any],
    schedule: Literal["linear", "cosine", "scaled_linear"] = "linear",
    predicts: Literal["noise", "data", "v"] = "noise",
    closed_frequencies: bool = True,
) -> Imported:
    """A folder of diffusers with a DiT: config.json and diffusion_pytorch_model.safetensors or .bin.

    Args:
        tensors: Of the folder.
        config: Its ``config.json``.
        schedule: Of the betas: ``beta_schedule`` in the folder ``scheduler``, where squaredcos_cap_v2 is "cosine".
        predicts: ``prediction_type`` there: epsilon is "noise", sample "data", v_prediction "v".
        closed_frequencies: As diffusers evaluates it; false as the weights of facebook/DiT-XL-2-256 were trained.
    Raises:
        ValueError: if the config is of another network, the copies in the blocks differ, or a tensor is missing, left
            over or of another shape.
    """
    said = read_config(config)
    heads, depth, patch, channels = (
        said[name] for name in ("num_attention_heads", "num_layers", "patch_size", "in_channels")
    )
    width = heads * said["attention_head_dim"]
    network = {
        "name": "dit",
        "channels": channels,
        "num_classes": said["num_embeds_ada_norm"],
        **sized(depth, width, heads),
        "patch": patch,
        "learned_sigma": has_variance((said["out_channels"] or channels) * patch**2, channels * patch**2),
        "feed_epsilon": said["norm_eps"],
        "time_scale": 1.0,
        "closed_frequencies": closed_frequencies,
    }
    rest = _without_copies(tensors, depth)
    positions = rest.pop("pos_embed.pos_embed", None)
    embed = "transformer_blocks.0.norm1.emb"
    layers = _ENDS | {ours: f"{embed}.{theirs}" for ours, theirs in _TIME.items()}
    for n in range(depth):
        for ours, theirs in _BLOCK.items():
            names = (theirs,) if isinstance(theirs, str) else theirs
            layers[f"blocks.{n}.{ours}"] = tuple(f"transformer_blocks.{n}.{name}" for name in names)
    taken = take_all(rest, network, layers, f"{embed}.class_embedder.embedding_table.weight")
    if positions is not None:  # a folder need not hold them
        check_positions("pos_embed.pos_embed", positions, width)
    return Imported(
        network=network,
        path={"name": "ddpm", "schedule": schedule},
        tensors=taken,
        predicts=predicts,
        clock="timestep",
        shape=(channels, *check_size([said["sample_size"]] * 2, patch)),
    )


def _without_copies(tensors: Mapping[str, Tensor], depth: int) -> dict[str, Tensor]:
    """The tensors without what embeds time and label in the blocks after the first; ValueError if it differs there."""
    prefix, kept = "transformer_blocks.0.norm1.emb.", dict(tensors)
    for first in [name for name in tensors if name.startswith(prefix)]:
        for n in range(1, depth):
            copy = f"transformer_blocks.{n}.norm1.emb.{first.removeprefix(prefix)}"
            if copy not in kept:
                raise ValueError(f"{copy} is missing, a copy of {first}")
            if not torch.equal(kept.pop(copy), tensors[first]):
                raise ValueError(
                    f"{copy} is not equal to {first}: the blocks of a dit share what embeds time and label"
                )
    return kept
