"""Conditions of which a network has already computed what depends on neither x nor t.

A sampling run evaluates its network many times under the same conditions: the row of a label, the projection of a
caption's tokens need computing once. ``Network.encode`` does that part, and ``network(x, t, cond)`` takes its result
in place of the conditions.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


class Encoded(tuple[Tensor, ...]):
    """Tensors with a row per sample, which ones is the network's own business."""


def concatenate(conds: Sequence[Tensor | Encoded]) -> Tensor | Encoded:
    """The conditions of several batches as those of one; all of them encoded, or none."""
    if isinstance(conds[0], Encoded):
        return Encoded(torch.cat(parts) for parts in zip(*conds, strict=True))
    return torch.cat(list(conds))
