"""Numbers of a run's steps, found by time: for rules whose weight depends on the step that is being taken."""

import torch
from torch import Tensor

from ..devices import sent

# Evaluations are at the times of the steps or after, up to the rounding of the states' dtype.
_ROUNDING = 1e-6


class PerStep:
    """A function of time that is constant on each step of a run.

    Args:
        times: Of the steps, increasing, shape (steps + 1,).
        values: One for each step, shape (steps,).
    """

    def __init__(self, times: Tensor, values: Tensor) -> None:
        self.times, self.values = times - _ROUNDING, values

    def __call__(self, t: Tensor, like: Tensor) -> Tensor:
        """The value of the step that sets out at ``t``, () or (B,), or contains it; of the last one at the end.

        Args:
            like: A tensor whose dtype and device the values are to have.
        """
        times, values = (sent(each, like.device) for each in (self.times, self.values))
        step = torch.searchsorted(times, t.reshape(-1).double(), right=True) - 1
        return values[step.clamp(0, len(values) - 1)].to(like).reshape(t.shape)
