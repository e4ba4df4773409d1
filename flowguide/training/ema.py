r"""Exponential moving average of weights.

.. math:: \bar\theta \leftarrow \bar\theta + (1 - d_n)(\theta - \bar\theta), \qquad
    d_n = \min\left(d, \frac{1 + n}{10 + n}\right),

where the warm-up of :math:`d_n` lets the average forget the random initialisation.
"""

import copy

import torch
from torch import nn


class EMA:
    """Keeps a slowly moving copy of a model.

    Args:
        model: The model that is trained.
        decay: d, in [0, 1).

    Attributes:
        model: The copy, in evaluation mode and without gradients.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self._averages = list(self.model.parameters())
        self._weights = list(model.parameters())
        self._buffers = list(zip(self.model.buffers(), model.buffers(), strict=True))

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the weights; ``step`` counts the updates from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._averages, self._weights, 1 - decay)
        for average, current in self._buffers:
            average.copy_(current)
