"""What the names and shapes in a file of guided-diffusion tell of its network.

The way down is ``input_blocks.N``: a convolution, and then the blocks of every level with what halves the resolution
between them. Each N holds parts in order: a residual block (``in_layers``, ``emb_layers``, ``out_layers``,
``skip_connection``) and perhaps attention (``norm``, ``qkv``, ``proj_out``), or a strided convolution (``op``). Then
``middle_block.0`` to ``2``. The way up is ``output_blocks.N``, in which the last of a level has one part more, what
doubles the resolution: a residual block again, or ``conv``. Beside these are ``time_embed.0``, ``2``, ``label_emb`` and
``out``.

A block that halves the resolution has the names and shapes of one that does not. In a U-Net the way up tells where the
levels end. Of a classifier, which has none, the levels all have the same number of blocks, and of its divisions into
such levels one at most has constant widths and constant attention in all of them, as a rule.
"""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

Tensors = Mapping[str, Tensor]


def network_options(tensors: Tensors, channels: int = 3, blocks: int | None = None) -> dict[str, Any]:
    """The options of ``unet``, or of ``unet_encoder`` (then with a pool), that shapes tell.

    Args:
        tensors: Of a file.
        channels: Of its images.
        blocks: Of each level of a classifier, if its shapes leave that open.
    Raises:
        ValueError: if they are of no network of guided-diffusion.
    """
    width = _shape(tensors, "time_embed.0.weight")[1]
    stem, inputs = _shape(tensors, "input_blocks.0.0.weight")[:2]
    entries = _count(tensors, "input_blocks") - 1
    classifier = not _count(tensors, "output_blocks")
    first, levels = 1, []
    for count in _divided(tensors, entries, blocks) if classifier else _levels(tensors):
        levels.append([f"input_blocks.{n}" for n in range(first, first + count)])
        first += count + 1
    if first - 1 != entries + 1:
        raise ValueError(
            f"input_blocks has {entries} entries after the first, and output_blocks belongs to {first - 2}"
        )
    widths = [_width(tensors, level[-1]) for level in levels]
    residual = f"{levels[0][0]}.0.emb_layers.1.weight"
    options = {
        "channels": channels,
        "width": width,
        "stem": stem,
        "multipliers": [whole if (whole := w / width) % 1 else int(whole) for w in widths],
        "blocks": [len(level) for level in levels],
        "attention": [n for n, level in enumerate(levels) if _attends(tensors, level[0])],
        "middle_attention": True,
        "scale_shift": _shape(tensors, residual)[0] == 2 * widths[0],
        "resampling": "convolution" if _resamples_by_convolution(tensors) else "residual",
        "groups": 32,
        "time_scale": 1.0,
    }
    return {**options, **(_classifier if classifier else _generative)(tensors, inputs, channels)}


def _generative(tensors: Tensors, inputs: int, channels: int) -> dict[str, Any]:
    outputs = _shape(tensors, "out.2.weight")[0]
    if outputs not in (channels, 2 * channels) or inputs < channels:
        raise ValueError(
            f"it takes {inputs} channels and gives {outputs}, and images of {channels} channels need at least "
            f"{channels}, and {channels} or {2 * channels}"
        )
    labelled = "label_emb.weight" in tensors
    return {
        "num_classes": _shape(tensors, "label_emb.weight")[0] if labelled else None,
        "null_label": not labelled,
        "learned_sigma": outputs == 2 * channels,
        "extra_channels": inputs - channels,
    }


def _classifier(tensors: Tensors, inputs: int, channels: int) -> dict[str, Any]:
    if inputs != channels:
        raise ValueError(f"it takes {inputs} channels, and images have {channels}")
    if "out.2.c_proj.weight" in tensors:
        return {"pool": "attention_to_logits", "num_classes": _shape(tensors, "out.2.c_proj.weight")[0]}
    last = "out.3.weight" if "out.3.weight" in tensors else "out.2.weight"
    pool = "spatial" if last == "out.2.weight" else "spatial_v2" if "out.1.weight" in tensors else "adaptive"
    return {"pool": pool, "num_classes": _shape(tensors, last)[0]}


def image_side(tensors: Tensors, levels: int) -> int | None:
    """Height of the images of a classifier whose pool has a position for each pixel; None if it has none."""
    if "out.2.positional_embedding" not in tensors:
        return None
    return round((_shape(tensors, "out.2.positional_embedding")[1] - 1) ** 0.5) * 2 ** (levels - 1)


def _levels(tensors: Tensors) -> list[int]:
    """How many blocks each level of a U-Net has on its way down, from full resolution: one fewer than on its way up."""
    counts, here = [], 0
    for n in range(_count(tensors, "output_blocks")):
        here += 1
        parts = _count(tensors, f"output_blocks.{n}")
        if parts > 1 + _attends(tensors, f"output_blocks.{n}"):
            counts, here = [*counts, here - 1], 0
    return [*counts, here - 1][::-1]


def _divided(tensors: Tensors, entries: int, blocks: int | None) -> list[int]:
    """How many blocks each level of a classifier has."""
    fitting = [b for b in range(1, entries + 1) if not (entries + 1) % (b + 1) and _fits(tensors, entries, b)]
    if blocks is not None:
        fitting = [b for b in fitting if b == blocks]
    if len(fitting) != 1:
        could = f"blocks={' or '.join(map(str, fitting))}" if fitting else "no number of blocks per level"
        raise ValueError(f"its {entries} input_blocks after the first go with {could}" + "; say which" * bool(fitting))
    return [fitting[0]] * ((entries + 1) // (fitting[0] + 1))


def _fits(tensors: Tensors, entries: int, blocks: int) -> bool:
    """Whether levels of so many blocks each have one width, attention throughout or not at all, and plain ends."""
    kinds = []
    for n in range(1, entries + 1):
        name = f"input_blocks.{n}"
        convolution = f"{name}.0.op.weight" in tensors
        changes = convolution or f"{name}.0.skip_connection.weight" in tensors
        kinds.append((convolution, None if convolution else _width(tensors, name), _attends(tensors, name), changes))
    for n, (convolution, width, attends, changes) in enumerate(kinds):
        place = n % (blocks + 1)
        if place == blocks:
            if not convolution and (attends or changes or width != kinds[n - 1][1]):
                return False
        elif convolution or (place and (changes or (width, attends) != (kinds[n - 1][1], kinds[n - 1][2]))):
            return False
    return True


def _resamples_by_convolution(tensors: Tensors) -> bool:
    return any(re.fullmatch(r"input_blocks\.\d+\.0\.op\.weight", name) for name in tensors)


def _attends(tensors: Tensors, block: str) -> bool:
    return f"{block}.1.qkv.weight" in tensors


def _width(tensors: Tensors, block: str) -> int:
    return _shape(tensors, f"{block}.0.in_layers.2.weight")[0]


def _count(tensors: Tensors, prefix: str) -> int:
    """How many numbered things there are under a name."""
    numbers = {name.removeprefix(f"{prefix}.").partition(".")[0] for name in tensors if name.startswith(f"{prefix}.")}
    return max((int(number) + 1 for number in numbers if number.isdecimal()), default=0)


def _shape(tensors: Tensors, name: str) -> tuple[int, ...]:
    if name not in tensors:
        raise ValueError(f"{name} is missing, which every file of this kind has")
    return tuple(tensors[name].shape)
