r"""Conditions that hold an image: it, and whatever else there is to tell, as one tensor with a row per sample.

.. math:: (c, y) \mapsto [c, p], \qquad p_k = y_{k \bmod n}, \quad k = 0, \dots, m\,h\,w - 1, \qquad
    m = \lceil n / (h\,w) \rceil,

for an image c of C channels of h x w pixels and the n numbers of a row of y: a label or a level is one (n = 1), an
embedding E, a sequence L C. They fill the m further channels, over and over, pixel by pixel; so that a label is one
channel of it, the same everywhere. One tensor is what samplers cut into batches, rules put together and objectives drop
per sample, so that the image goes wherever the rest goes.

Numbers are copied and never computed with: NaN, which marks the absent tokens of a sequence, comes out as it went in.
The image alone may be resized, and nothing may round the whole to a shorter type.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def joined(image: Tensor, rest: Tensor | None = None) -> Tensor:
    """An image and what else there is to tell, as one tensor.

    Args:
        image: Shape (B, C, h, w).
        rest: Shape (B, *): numbers of any type, labels, levels, embeddings or sequences; None for nothing.
    Returns:
        Shape (B, C + m, h, w), or the image if there is nothing else. It is of the image's type, or of the one that
        holds the rest too, float32 or longer for integers: these are exact up to 2^24 in it.
    """
    if rest is None:
        return image
    rows = rest.flatten(1) if rest.ndim > 1 else rest[:, None]
    own = rows.dtype if rows.is_floating_point() else torch.float32
    dtype = torch.promote_types(image.dtype, own)
    further, pixels = channels_for(rest.shape[1:], image.shape), math.prod(image.shape[2:])
    numbers = torch.arange(further * pixels, device=image.device) % rows.shape[1]
    packed = rows.to(image.device, dtype)[:, numbers].unflatten(1, (further, *image.shape[2:]))
    return torch.cat([image.to(dtype), packed], dim=1)


def channels_for(row: Sequence[int], image: Sequence[int]) -> int:
    """m, the channels that a row of the rest takes beside an image of shape (B, C, h, w)."""
    return -(-math.prod(row) // math.prod(image[2:]))


def apart(cond: Tensor, channels: int, row: Sequence[int] | None) -> tuple[Tensor, Tensor | None]:
    """What was joined: the image, of so many channels, and the rest, whose rows have the shape ``row``.

    Args:
        cond: Shape (B, C + m, h, w).
        channels: C.
        row: () for a number each, (E,), (L, C); None if there is nothing else.
    Returns:
        Shapes (B, C, h, w) and (B, *row), in the type of ``cond``.
    """
    image, packed = cond[:, :channels], cond[:, channels:]
    if row is None:
        return image, None
    return image, packed.flatten(1)[:, : math.prod(row)].reshape(len(cond), *row).contiguous()
