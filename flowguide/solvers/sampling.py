"""``fg.sample``: from a seed to samples in one call."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ..fields import Field
from ..fields.arguments import check_rows
from ..fields.inference import outside_inference_mode
from ..randomness import numbers_of
from .auto import Auto
from .base import Solver, solvers


@outside_inference_mode
@torch.no_grad()
def sample(
    field: Field,
    shape: Sequence[int],
    cond: Tensor | None = None,
    solver: Solver | str | Mapping[str, Any] | None = None,
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
        solver: Any solver, the name of one, or its name and options, ``{"name": ..., ...}``; ``auto`` with 20 steps if
            None.
        seed: A sample of a seed is the same whatever the batch.
        start: States to start from, of that shape; noise if None.
        first: Which samples of the seed: the number of the first, or of each, int64, shape (B,).
        batch_size: Samples per field evaluation; all at once if None.
        device: Where to compute; the device of the field's parameters if None.
        dtype: Of the states; torch's default if None.
        progress: Show a progress bar.
    Returns:
        Samples, shape (B, *).
    Raises:
        ValueError: if arguments do not fit one another, or there is no such solver or device.
    """
    if not hasattr(field, "predict"):  # what torch.compile makes of a Field is none by its type
        raise ValueError(f"samples are drawn from a Field, as fg.NetworkField(network, path) is, not {field!r:.80}")
    if solver is None:
        solver = Auto()
    elif not isinstance(solver, Solver):
        solver = solvers.choose(solver)
    if not isinstance(shape, Sequence) or len(shape) < 2 or not all(map(_is_count, shape)):
        raise ValueError(f"shape is (how many, *shape of one sample), each at least 1, not {shape!r:.80}")
    if batch_size is not None and not _is_count(batch_size):
        raise ValueError(f"batch_size must be at least 1, an integer, not {batch_size!r:.80}")
    numbers_of(first, shape[0])  # if one for each, then of all batches
    if device is None:
        device = next((p.device for p in field.parameters()), None)
    elif not _is_here(device):
        raise ValueError(f"there is no device {device!r:.80} here; leave it out for that of the field")
    if cond is not None:
        check_rows(cond, shape[0])
        cond = cond.to(device)
        field.check_condition(cond, shape[0])
    if start is not None and (not isinstance(start, Tensor) or start.shape != tuple(shape)):
        given = tuple(start.shape) if isinstance(start, Tensor) else f"{start!r:.80}"
        raise ValueError(f"start must have the shape {tuple(shape)} of the samples, not {given}")
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
            batches.append(solver.solve(field.for_rows(rows, shape[0]), x, labels, seed=noise, first=these))
            bar.update(count)
    return torch.cat(batches)


def _is_count(value: Any) -> bool:
    """Whether it is an integer of at least 1."""
    return hasattr(value, "__index__") and value >= 1


def _is_here(device: torch.device | str) -> bool:
    """Whether there is such a device on this machine."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError):
        return False
    return True
