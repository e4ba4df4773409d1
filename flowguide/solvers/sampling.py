"""``fg.sample``: from a seed to samples in one call."""

from collections.abc import Sequence

import torch
from torch import Tensor
from tqdm import tqdm

from ..fields import Field
from .base import Solver
from .runge_kutta import Heun


@torch.no_grad()
def sample(
    field: Field,
    shape: Sequence[int],
    cond: Tensor | None = None,
    solver: Solver | None = None,
    seed: int = 0,
    *,
    first: int = 0,
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
        solver: Any solver; Heun's method with 20 steps if None.
        seed: Sample ``first + i`` of a seed is the same whatever the batch.
        batch_size: Samples per field evaluation; all at once if None.
        device: Where to compute; the device of the field's parameters if None.
        dtype: Of the states; torch's default if None.
        progress: Show a progress bar.
    Returns:
        Samples, shape (B, *).
    """
    solver = solver or Heun()
    if len(shape) < 2 or min(shape) < 1:
        raise ValueError(f"shape is (how many, *shape of one sample), each at least 1, not {tuple(shape)}")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    if device is None:
        device = next((p.device for p in field.parameters()), None)
    if cond is not None:
        cond = cond.to(device)
        field.check_condition(cond, shape[0])
    start = float(solver.times(field)[0])
    size = batch_size or shape[0]
    batches = []
    with tqdm(total=shape[0], desc="sampling", unit="sample", disable=not progress) as bar:
        for begin in range(0, shape[0], size):
            count = min(size, shape[0] - begin)
            x = field.path.prior((count, *shape[1:]), seed, t=start, first=first + begin, device=device, dtype=dtype)
            labels = None if cond is None else cond[begin : begin + count]
            batches.append(
                solver.solve(field, x, labels, seed=seed if solver.stochastic else None, first=first + begin)
            )
            bar.update(count)
    return torch.cat(batches)
