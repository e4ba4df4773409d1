"""Where the tensors of our dit are in the files of DiT, which SiT's are too.

===================================  =========================================================================
here                                 there
===================================  =========================================================================
``enter``                            ``x_embedder.proj``, the convolution of patches [W, C, p, p]
``time.1``, ``.3``                   ``t_embedder.mlp.0``, ``.2``
``condition.label.weight``           ``y_embedder.embedding_table.weight``, a row per class and one for none
``blocks.N.modulate``                ``blocks.N.adaLN_modulation.1``
``blocks.N.attention.project``       ``blocks.N.attn.qkv``
``blocks.N.attention.leave``         ``blocks.N.attn.proj``
``blocks.N.feed.enter``, ``.leave``  ``blocks.N.mlp.fc1``, ``.fc2``
``leave.modulate``                   ``final_layer.adaLN_modulation.1``
``leave.leave``                      ``final_layer.linear``, p * p * C rows, or twice that for a variance too
none: it is computed for any size    ``pos_embed``, shape (1, N, W), of a square image of N patches
===================================  =========================================================================
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .. import networks
from .base import Place, take

Layers = Mapping[str, str | tuple[str, ...]]

LABELS = "y_embedder.embedding_table.weight"
_ENDS = {
    "enter": "x_embedder.proj",
    "time.1": "t_embedder.mlp.0",
    "time.3": "t_embedder.mlp.2",
    "leave.modulate": "final_layer.adaLN_modulation.1",
    "leave.leave": "final_layer.linear",
}
_BLOCK = {
    "modulate": "adaLN_modulation.1",
    "attention.project": "attn.qkv",
    "attention.leave": "attn.proj",
    "feed.enter": "mlp.fc1",
    "feed.leave": "mlp.fc2",
}


def layers(depth: int) -> dict[str, str]:
    """The place of every layer with a weight and a bias, under our names."""
    return _ENDS | {
        f"blocks.{n}.{ours}": f"blocks.{n}.{theirs}" for n in range(depth) for ours, theirs in _BLOCK.items()
    }


def take_all(
    tensors: Mapping[str, Tensor], network: Mapping[str, Any], layers: Layers, labels: str
) -> dict[str, Tensor]:
    """The tensors of the dit that ``network`` describes.

    Args:
        tensors: Of the file, all to be used.
        network: Its node.
        layers: Where each layer is, which has a weight and a bias; in several parts for several names.
        labels: Where the table of labels is.
    """
    found = {"condition.label.weight": Place(labels)}
    for ours, theirs in layers.items():
        for kind in ("weight", "bias"):
            names = tuple(f"{name}.{kind}" for name in ([theirs] if isinstance(theirs, str) else theirs))
            found[f"{ours}.{kind}"] = Place(names, flat=ours == "enter" and kind == "weight")
    with torch.device("meta"):  # for names and shapes alone
        skeleton = networks.registry.build_from(network)
    return take(tensors, skeleton, found)
