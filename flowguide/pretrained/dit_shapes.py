"""What the shapes in a file of DiT or SiT tell of its network.

The convolution of patches has the width, the channels and the patch; the positions have the size of the image; the
table of labels and the last layer have the classes, and whether there is a variance. Into how many heads attention is
split, no shape tells: that is known of the published widths.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..networks.dit_design import SIZES
from ..networks.positions import sines_and_cosines
from .dit_keys import LABELS, layers, take_all

Tensors = Mapping[str, Tensor]

_HEADS = {width: heads for size, (_, width, heads) in SIZES.items() if size}


def read_transformer(
    tensors: Tensors, heads: int | None, null_label: bool, size: Sequence[int] | None
) -> tuple[dict[str, Any], dict[str, Tensor], tuple[int, int, int]]:
    """The network's node, its tensors under our names, and the shape of a sample.

    Args:
        tensors: Of the file.
        heads: Of the attention; None for those of the published width.
        null_label: Whether the last row of the labels' table means "none".
        size: Height and width of the images; None for those that the file has positions of.
    Raises:
        ValueError: if a tensor is missing, left over or of another shape, or something is not told.
    """
    width, channels, patch, across = _shape(tensors, "x_embedder.proj.weight", 4)
    if patch != across:
        raise ValueError(f"its patches are {patch}x{across}, and those of a dit are as wide as they are high")
    if heads is None and width not in _HEADS:
        known = ", ".join(f"{heads} at {width}" for width, heads in sorted(_HEADS.items()))
        raise ValueError(
            f"its width {width} is that of no published model, and shapes do not tell how attention is split: say "
            f"heads=... (published: {known})"
        )
    depth = _count(tensors, "blocks")
    hidden, (rows, _) = _shape(tensors, "blocks.0.mlp.fc1.weight", 2)[0], _shape(tensors, LABELS, 2)
    network = {
        "name": "dit",
        "channels": channels,
        "num_classes": rows - null_label,
        "null_label": null_label,
        **sized(depth, width, _HEADS[width] if heads is None else heads),
        "patch": patch,
        "mlp_ratio": _ratio(hidden, width),
        "learned_sigma": has_variance(_shape(tensors, "final_layer.linear.weight", 2)[0], channels * patch**2),
        "time_scale": 1.0,
    }
    rest = dict(tensors)
    positions = rest.pop("pos_embed", None)
    taken = take_all(rest, network, layers(depth), LABELS)
    if positions is not None:
        side = patch * check_positions("pos_embed", positions, width)
        size = [side, side] if size is None else size
    if size is None:
        raise ValueError("it has no pos_embed, which would tell the size of its images: say size=[height, width]")
    return network, taken, (channels, *check_size(size, patch))


def sized(depth: int, width: int, heads: int) -> dict[str, Any]:
    """The options for these: the published size that has them, or each by itself."""
    name = next((name for name, each in SIZES.items() if name and each == (depth, width, heads)), None)
    return {"size": name} if name else {"depth": depth, "width": width, "heads": heads}


def has_variance(outputs: int, numbers: int) -> bool:
    """Whether a last layer of so many rows, for patches of so many numbers, predicts a variance too."""
    if outputs not in (numbers, 2 * numbers):
        raise ValueError(
            f"its last layer gives {outputs} numbers for a patch of {numbers}, where a dit gives as many, or with a "
            f"variance {2 * numbers}"
        )
    return outputs == 2 * numbers


def check_positions(name: str, table: Tensor, width: int) -> int:
    """Rows of patches in the square image that the table (1, N, W) is of; ValueError unless it holds our positions."""
    side = math.isqrt(table.shape[1]) if table.ndim == 3 else 0
    if not side or tuple(table.shape) != (1, side**2, width):
        raise ValueError(
            f"{name} has the shape {tuple(table.shape)}, and the positions in a square image have (1, rows^2, {width})"
        )
    table = table[0]
    ours = sines_and_cosines(side, side, width, torch.empty((), dtype=torch.float64))
    largest = (table.double() - ours).abs().max().item()
    rounding = torch.finfo(table.dtype).eps if table.is_floating_point() else 0.0
    if not largest <= max(1e-4, rounding):
        raise ValueError(
            f"{name} holds other positions than the sines and cosines that a dit computes, by up to {largest:.3g}: "
            f"learned ones cannot be read"
        )
    return side


def check_size(size: Sequence[int], patch: int) -> tuple[int, int]:
    """Height and width, of whole patches."""
    if len(size) != 2 or any(side < 1 or side % patch for side in size):
        raise ValueError(f"the size of its images is [height, width], each a multiple of {patch}, not {list(size)}")
    return size[0], size[1]


def _ratio(hidden: int, width: int) -> float:
    """What times the width is ``hidden``, when it is cut off to an integer."""
    ratio = hidden / width
    return ratio if int(ratio * width) == hidden else math.nextafter(ratio, math.inf)


def _count(tensors: Tensors, prefix: str) -> int:
    """How many numbered things there are under a name."""
    numbers = {name.split(".")[1] for name in tensors if name.startswith(f"{prefix}.")}
    return max((int(number) + 1 for number in numbers if number.isdecimal()), default=0)


def _shape(tensors: Tensors, name: str, axes: int) -> tuple[int, ...]:
    if name not in tensors:
        raise ValueError(f"{name} is missing, which every file of this kind has")
    shape = tuple(tensors[name].shape)
    if len(shape) != axes:
        raise ValueError(f"{name} has the shape {shape}, and in every file of this kind it has {axes} axes")
    return shape
