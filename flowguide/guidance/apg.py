r"""Adaptive projected guidance: less of the change that only makes the prediction larger.

.. math::
    \delta = F_c - F_u, \qquad \delta \leftarrow \delta\, \min\left( 1, \frac{r}{\lVert \delta \rVert} \right), \qquad
    \tilde F = F_c + (w - 1) \left( \delta_\perp + \eta\, \delta_\parallel \right),

where :math:`\delta_\parallel` is the part of :math:`\delta` along :math:`F_c`. With :math:`\eta = 1` and no threshold
r this is classifier-free guidance. It acts on the data prediction, as in the paper. In the run of a solver the
difference may have a momentum, :math:`\delta \leftarrow \delta + \beta\, \delta_{before}`, from one evaluation to the
next; negative in the paper.

Source: Sadat, Hilliges & Weber (2024), arXiv 2410.02416.
"""

import math

import torch
from torch import Tensor

from ..fields import Field, Run
from ..paths import Kind
from .base import guidance
from .spaces import SpacePair, inner, ratio, root
from .weights import Weight


@guidance.register("apg")
class AdaptiveProjectedGuidance(SpacePair):
    """Adaptive projected guidance: conditional + (w - 1) (difference, its part along the conditional times eta).

    Args:
        field: A field that knows its null condition.
        w: The weight: a number, one per sample, shape (B,), or a schedule.
        eta: How much of the parallel part is kept: 0 none, 1 all.
        threshold: r, the largest norm of the difference; None for none.
        momentum: beta, in (-1, 1); it counts in the runs of solvers.
        space: The kind to act in; None for data, as in the paper.
    Raises:
        ValueError: if eta is not finite, or the threshold not positive.
    """

    space: Kind = "data"
    starts_at_reference = False
    conditional_at_1 = True
    affine_in_w = True

    def __init__(
        self,
        field: Field,
        w: Weight = 1.0,
        eta: float = 0.0,
        threshold: float | None = None,
        momentum: float = 0.0,
        space: Kind | None = None,
    ) -> None:
        super().__init__(field, w, space)
        if not math.isfinite(eta):
            raise ValueError(f"eta must be a finite number (0 projects, 1 leaves the difference as it is), not {eta}")
        if threshold is not None and not threshold > 0:
            raise ValueError(f"threshold is the largest norm of the difference, positive, or null, not {threshold}")
        if not -1 < momentum < 1:
            raise ValueError(f"momentum is in (-1, 1), not {momentum}")
        self.eta, self.threshold, self.momentum = eta, threshold, momentum
        self._memory: list[Tensor] | None = None

    def for_run(self, run: Run) -> "AdaptiveProjectedGuidance":
        if not self.momentum:
            return super().for_run(run)
        fresh = self.copy_for(run)
        fresh._memory = []
        return fresh

    def blend(self, u: Tensor, c: Tensor, w: float | Tensor) -> Tensor:
        delta = c - u
        if self._memory is not None:
            delta = delta + self.momentum * self._memory.pop() if self._memory else delta
            self._memory.append(delta)
        if self.threshold is not None:
            norm = root(inner(delta, delta))
            delta = delta * torch.where(norm > self.threshold, ratio(self.threshold, norm), 1.0).to(delta.dtype)
        parallel = ratio(inner(delta, c), inner(c, c)).to(c.dtype) * c
        return c + (w - 1) * (delta + (self.eta - 1) * parallel)
