"""What everything that predicts is called with: states, times, conditions. Wrong ones are answered in a sentence.

Only shapes and types are looked at, since to look at what a tensor holds would make a GPU wait.
"""

from typing import Any

from torch import Tensor

from ..networks import Encoded


def check_rows(cond: Any, batch: int) -> None:
    """ValueError unless ``cond``, which is not None, has a row for each of ``batch`` samples."""
    if isinstance(cond, Encoded):
        return
    if not isinstance(cond, Tensor):
        raise ValueError(
            f"cond is a tensor with one condition per sample, labels of shape ({batch},), say, not {cond!r:.80}"
        )
    if not cond.ndim or len(cond) != batch:
        got = f"{len(cond)}" if cond.ndim else "a tensor of shape ()"
        raise ValueError(f"there must be one condition per sample: got {got} for {batch} samples")
