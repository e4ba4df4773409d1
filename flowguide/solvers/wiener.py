r"""The noise of a stochastic solver: standard normal numbers for every step, keyed by seed, sample and step.

Sample i of a seed meets the same noise whatever its batch, on any device and beside any other samples
(:mod:`flowguide.randomness`). A solver scales the numbers to the increment that it needs,
:math:`\Delta W = \sqrt{h}\, n` for one.
"""

from torch import Tensor

from ..randomness import normal

_FIRST_STREAM = 1  # the prior of a seed is its stream 0
_DRAWS = 2


class Wiener:
    """Standard normal numbers by step.

    Args:
        seed: Integer in [0, 2^64).
        first: Index of the sample in row 0 of a batch, or of that in every row, shape (B,).
        start: Number of the step that is called 0.
    """

    def __init__(self, seed: int, first: int | Tensor = 0, start: int = 0) -> None:
        self.seed = seed
        self.first = first
        self.start = start

    def later(self, steps: int) -> "Wiener":
        """The same noise from a later step on, which it calls 0."""
        return Wiener(self.seed, self.first, self.start + steps)

    def __call__(self, step: int, x: Tensor, draw: int = 0) -> Tensor:
        """Numbers for a step, of the shape, dtype and device of ``x``; ``draw`` 0 or 1 if the step needs two."""
        step += self.start
        stream = _FIRST_STREAM + _DRAWS * step + draw
        return normal(x.shape, self.seed, stream=stream, first=self.first, device=x.device, dtype=x.dtype)
