"""How well the flow of a field compresses held-out data (:func:`flowguide.bits_per_dim`)."""

import torch
from torch import Tensor

from ..data import Samples
from ..fields import Field
from ..likelihood import bits_per_dim
from ..training import Ranks

_SEED = 0  # of the dequantization: the same at every weight, so that their difference has less noise
_TOLERANCE = 1e-4  # of the solver: an error of a thousandth of a bit, where one datum differs from another by tenths


def bits_of(field: Field, held_out: Samples, conditioned: bool, batch_size: int, ranks: Ranks) -> Tensor:
    """Bits per dimension of held-out data, each under its own label.

    Args:
        field: Any field, guided or not.
        held_out: Data of few values: images.
        conditioned: Whether the field takes labels.
        batch_size: Data per evaluation of the field.
        ranks: Who computes: each its share of the data, and all of them get all.
    Returns:
        Shape (N,), on the field's device.
    """
    share = ranks.share(len(held_out))
    device = next(field.parameters()).device
    bits = [torch.empty(0, device=device)]
    for begin in range(share.start, share.stop, batch_size):
        images, labels = held_out.batch(torch.arange(begin, min(begin + batch_size, share.stop)))
        cond = labels.to(device) if conditioned and labels is not None else None
        options = {"levels": held_out.levels, "seed": _SEED, "first": begin, "rtol": _TOLERANCE, "atol": _TOLERANCE}
        bits.append(bits_per_dim(field, images.to(device), cond, **options).to(bits[0]))
    return ranks.gathered(torch.cat(bits), len(held_out))
