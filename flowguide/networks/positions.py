r"""Where a patch is, in an image of any size: sines and cosines that are added, or rotations of queries and keys.

With d channels, the fixed positions of a patch in row r and column c are

.. math:: [\sin(c\, \omega), \cos(c\, \omega), \sin(r\, \omega), \cos(r\, \omega)], \qquad
    \omega_i = 10000^{-i / (d/4)}, \quad i = 0, \dots, d/4 - 1,

columns first, as published. Rotary positions turn the pairs of channels (2i, 2i + 1) of a query or key of width d by

.. math:: (r\, \omega_0, \dots, r\, \omega_{d/4 - 1}, c\, \omega_0, \dots, c\, \omega_{d/4 - 1}),

so that the product of a query and a key depends on their patches only by how many rows and columns lie between them.

Both are sums over rows and columns: so little to compute that no table for one size of images is kept.

Source: Dosovitskiy et al. (2020), arXiv 2010.11929; He et al. (2021), arXiv 2111.06377 (sines and cosines in two
dimensions); Su et al. (2021), arXiv 2104.09864 (rotations); Heo et al. (2024), arXiv 2403.13298 (in two dimensions).
"""

import torch
from torch import Tensor


def sines_and_cosines(rows: int, columns: int, width: int, like: Tensor) -> Tensor:
    """The fixed positions of all patches, row by row: shape (rows * columns, width), dtype and device of ``like``."""
    column, row = (_angles(count, width // 4, like) for count in (columns, rows))
    halves = torch.broadcast_tensors(_waves(column)[None, :], _waves(row)[:, None])
    return torch.cat(halves, dim=-1).flatten(0, 1).to(like.dtype)


def rotations(rows: int, columns: int, width: int, like: Tensor, unmoved: int = 0) -> Tensor:
    """Cosines and sines of the angles of all patches, row by row, for queries of ``width`` channels.

    Args:
        rows, columns: Of patches.
        width: Of queries and keys: channels per head, a multiple of 4.
        like: Has the dtype and the device.
        unmoved: How many tokens without a place come before the patches.
    Returns:
        Shape (2, unmoved + rows * columns, width / 2).
    """
    row, column = (_angles(count, width // 4, like) for count in (rows, columns))
    angles = torch.cat(torch.broadcast_tensors(row[:, None], column[None, :]), dim=-1).flatten(0, 1)
    angles = torch.cat([angles.new_zeros(unmoved, width // 2), angles])
    return torch.stack([angles.cos(), angles.sin()]).to(like.dtype)


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Queries or keys, shape (..., N, width), turned by :func:`rotations` of N tokens."""
    cosine, sine = rotation
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([even * cosine - odd * sine, even * sine + odd * cosine], dim=-1).flatten(-2).to(x.dtype)


def _angles(count: int, frequencies: int, like: Tensor) -> Tensor:
    """Positions 0 to count - 1 times every frequency, shape (count, frequencies)."""
    # In double precision, as published, but for Apple's GPUs, which have none.
    kind = {"dtype": torch.float32 if like.device.type == "mps" else torch.float64, "device": like.device}
    omega = 10000.0 ** -(torch.arange(frequencies, **kind) / frequencies)
    return torch.arange(count, **kind)[:, None] * omega


def _waves(angles: Tensor) -> Tensor:
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
