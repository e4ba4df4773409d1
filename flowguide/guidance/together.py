r"""One field under several conditions at once.

.. math:: \text{field}([x, x], t, [\varnothing, y]) = [\text{field}(x, t, \varnothing),\ \text{field}(x, t, y)]

for a field that treats the samples of a batch independently, to the rounding of its matrix products. One evaluation
of a batch of twice the size has half the overhead of two, and fills a cache sooner. On one thread of a CPU it was
found to be 1.0 to 1.7 times as fast up to some 12000 numbers in 64 samples or fewer (64 images of 8 x 8, or 4 of
32 x 32), and no faster, or slower, beyond (U-Nets of width 32 and 64, transformers of 88 and 192). The bound for
accelerators, which are idle in part for much longer, is an estimate.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..fields import Field, Given, NetworkField
from ..networks import Encoded, concatenate
from ..paths import Prediction
from .base import Guidance

# The largest batches for which one evaluation for all conditions is the faster: samples, and numbers in them.
_CPU = (64, 12288)
_ACCELERATOR = (512, 2**18)


def together(
    field: Field, x: Tensor, t: Tensor, conds: Sequence[Tensor | None], batched: bool | None = None
) -> list[Prediction]:
    """Predict at one state and time under several conditions.

    Args:
        field: Any field that treats the samples of a batch independently.
        x: States, shape (B, *).
        t: Time, shape () or (B,).
        conds: Conditions, each with a row per sample; None is unconditional.
        batched: Whether in one evaluation of a batch of ``len(conds) * B``, with the null condition for None; None for
            whatever is the faster, which is two evaluations unless the field is a network's.
    Returns:
        One prediction per condition.
    """
    if batched is None:
        samples, numbers = _CPU if x.device.type == "cpu" else _ACCELERATOR
        # Only where it pays, in a network, and where None is known to mean the same as the null condition.
        known = type(field).predict in (NetworkField.predict, Given.predict)
        batched = known and len(x) <= samples and x.numel() <= numbers
    # A rule may hold something per sample, its weights, and would meet more samples than it was built for; the fields
    # that it is made of are evaluated together by the rule itself.
    rows = None if not batched or isinstance(field, Guidance) else _rows(field, len(x), conds)
    if rows is None or len(conds) == 1:
        return [field(x, t, cond) for cond in conds]
    count = len(conds)
    times = t.repeat(count) if t.ndim else t
    return field(torch.cat([x] * count), times, concatenate(rows)).chunk(count)


def _rows(field: Field, batch: int, conds: Sequence[Tensor | None]) -> list[Tensor | Encoded] | None:
    """The conditions, encoded, with null in place of None; None if they do not fit into one batch."""
    given = [cond for cond in conds if cond is not None]
    null = field.null(batch)
    if not given or null is None or len({(cond.shape, cond.dtype, cond.device) for cond in given}) > 1:
        return None
    if null.shape != given[0].shape:
        return None
    rows = [field.encode(cond, batch) for cond in conds]
    return [row.to(given[0]) if isinstance(row, Tensor) else row for row in rows]
