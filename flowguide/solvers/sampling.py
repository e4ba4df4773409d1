"""``fg.sample``: from a seed to samples in one call."""

from collections.abc import Sequence

import torch
from torch import Tensor
from tqdm import tqdm

from ..fields import Field
from ..randomness import numbers_of
from .auto import Auto
from .base import Solver


@torch.no_grad()
def sample(
    field: Field,
    shape: Sequence[int],
    cond: Tensor | None = None,
    solver: Solver | None = None,
    seed: int = 0,
    *,
    start: Tensor | None = None,
    first: int | Tensor = 0,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    progress: bool = False,
) -> Tensor:
    """Draw noise and carry it to data.

    Args:
        field: Any field, guided or not.
        shape: (B, *): how many samples, and of what shape.
        cond: Conditions, one per sample, or None for unconditional samples.
        solver: Any solver; ``auto`` with 20 steps if None.
        seed: A sample of a seed is the same whatever the batch.
        start: States to start from, of that shape; noise if None.
        first: Which samples of the seed: the number of the first, or of each, int64, shape (B,).
        batch_size: Samples per field evaluation; all at once if None.
        device: Where to compute; the device of the field's parameters if None.
        dtype: Of the states; torch's default if None.
        progress: Show a progress bar.
    Returns:
        Samples, shape (B, *).
    """
    solver = solver or Auto()
    if len(shape) < 2 or min(shape) < 1:
        raise ValueError(f"shape is (how many, *shape of one sample), each at least 1, not {tuple(shape)}")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    numbers_of(first, shape[0])  # if one for each, then of all batches
    if device is None:
        device = next((p.device for p in field.parameters()), None)
    if cond is not None:
        cond = cond.to(device)
        field.check_condition(cond, shape[0])
    if start is not None and start.shape != tuple(shape):
        raise ValueError(f"start must have the shape {tuple(shape)} of the samples, not {tuple(start.shape)}")
    begins_at = float(solver.times(field)[0])
    size = batch_size or shape[0]
    batches = []
    with tqdm(total=shape[0], desc="sampling", unit="sample", disable=not progress) as bar:
        for begin in range(0, shape[0], size):
            rows = slice(begin, min(begin + size, shape[0]))
            count = rows.stop - begin
            these = first[rows] if isinstance(first, Tensor) else first + begin
            if start is None:
                options = {"t": begins_at, "first": these, "device": device, "dtype": dtype}
                x = field.path.prior((count, *shape[1:]), seed, **options)
            else:
                x = start[rows].to(device=device, dtype=dtype)
            labels = None if cond is None else cond[rows]
            noise = seed if solver.stochastic or field.draws else None
            batches.append(solver.solve(field, x, labels, seed=noise, first=these))
            bar.update(count)
    return torch.cat(batches)
