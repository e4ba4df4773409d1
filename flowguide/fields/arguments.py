"""What everything that predicts is called with: states, times, conditions. Wrong ones are answered in a sentence.

Only shapes and types are looked at, since to look at what a tensor holds would make a GPU wait.
"""

from typing import Any

import torch
from torch import Tensor

from ..devices import sent


def check_states(x: Any, what: str = "states") -> None:
    """ValueError unless ``x``, which are ``what``, are floating-point numbers of shape (B, *)."""
    if isinstance(x, Tensor) and x.is_floating_point() and x.ndim > 1:
        return
    if not isinstance(x, Tensor):
        raise ValueError(f"{what} are floating-point tensors of shape (B, *), not of type {type(x).__name__}")
    hint = "; of an image's bytes give x / 127.5 - 1" if x.dtype == torch.uint8 else ""
    raise ValueError(
        f"{what} are floating-point tensors of shape (B, *), not {x.dtype} of shape {tuple(x.shape)}{hint}"
    )


def check_rows(cond: Any, batch: int) -> None:
    """ValueError unless ``cond``, which is not None, has a row for each of ``batch`` samples."""
    if not isinstance(cond, Tensor):
        raise ValueError(
            f"cond is a tensor with one condition per sample, labels of shape ({batch},), say, not {cond!r:.80}"
        )
    if not cond.ndim or len(cond) != batch:
        got = f"{len(cond)}" if cond.ndim else "a tensor of shape ()"
        raise ValueError(f"there must be one condition per sample: got {got} for {batch} samples")


def time_of(t: Any, x: Tensor) -> Tensor:
    """``t`` for the states ``x``, as a tensor of their type on their device.

    Raises:
        ValueError: if it is not of shape () or (B,), or a number outside [0, 1]. Tensors are not looked into.
    """
    if not isinstance(t, Tensor):
        if isinstance(t, (int, float)) and not 0 <= t <= 1:
            raise ValueError(f"time is in [0, 1], from noise to data, not {t}")
        try:
            t = sent(torch.as_tensor(t, dtype=x.dtype), x.device)
        except (TypeError, ValueError, RuntimeError):
            raise ValueError(f"time is a number in [0, 1], or a tensor of one per sample, not {t!r:.80}") from None
    elif t.dtype != x.dtype or t.device != x.device:
        t = sent(t, x.device, x.dtype)
    if t.ndim and t.shape != x.shape[:1]:
        raise ValueError(
            f"time is a number or a tensor of shape () or ({len(x)},), one for each of {len(x)} samples, not of shape "
            f"{tuple(t.shape)}"
        )
    return t
