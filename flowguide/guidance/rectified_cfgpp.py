r"""Rectified-CFG++: along the conditional flow, with the guiding difference from half a step ahead.

.. math::
    x' = x + \rho\, \Delta t\, u_c(x, t), \qquad t' = t + \rho\, \Delta t, \qquad
    \tilde u(x, t) = u_c(x, t) + (w - 1) \left[ u_c(x', t') - u_u(x', t') \right],

where :math:`\Delta t` is the length of the step of the run that sets out at t, and :math:`\rho` = 1/2 in the paper and
1 in its code. The difference is taken where the conditional flow will be, and not where guidance has led the state. As
steps become short, and outside a run, it is classifier-free guidance of weight w. The difference of two velocities
elsewhere is not that of two predictions of data, so that the rule is defined for the velocity alone.

Source: Saini, Gupta & Bovik (2025), arXiv 2510.07631, algorithm 1, for rectified flows, whose t runs from 1 to 0. Their
alpha(t) = lambda_max (1 - t)^gamma is our w - 1: ``w={name: power, start: 1, end: 1 + lambda_max, exponent: gamma}``.
"""

import torch
from torch import Tensor

from ..fields import Field, Run
from ..paths import Kind, Prediction, per_sample
from .base import guidance
from .pair import Pair
from .steps import PerStep
from .weights import Weight, weight_at


@guidance.register("rectified_cfgpp")
class RectifiedCFGPlusPlus(Pair):
    """Rectified-CFG++: conditional velocity + (w - 1) times the difference half a step on along the conditional flow.

    Args:
        field: A field that knows its null condition.
        w: The weight: a number, one per sample, shape (B,), or a schedule.
        ahead: rho, the share of a step that the difference is taken ahead, in [0, 1].
        batched: Whether the field is evaluated once on a doubled batch; None for whatever is the faster.
    Raises:
        ValueError: if ahead is not in [0, 1].

    In the run of a solver it evaluates the field three times.
    """

    space: Kind = "velocity"
    conditional_at_1 = True
    affine_in_w = True

    def __init__(self, field: Field, w: Weight = 1.0, ahead: float = 0.5, batched: bool | None = None) -> None:
        super().__init__(field, w, batched)
        if not 0 <= ahead <= 1:
            raise ValueError(f"ahead is a share of the step, in [0, 1], not {ahead}")
        self.ahead = ahead
        self._lengths: PerStep | None = None
        self._end = 1.0

    def for_run(self, run: Run) -> "RectifiedCFGPlusPlus":
        fresh = self.copy_for(run)
        fresh._lengths = PerStep(run.times, self.ahead * run.times.diff())
        fresh._end = float(run.times[-1])
        return fresh

    def predict(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Prediction:
        return self.with_conditional(x, t, cond)[0]

    def with_conditional(self, x: Tensor, t: Tensor, cond: Tensor | None) -> tuple[Prediction, Prediction]:
        w = weight_at(self.w, t, x)
        if self._lengths is None or cond is None or (isinstance(w, float) and w == 1):
            return super().with_conditional(x, t, cond)
        w = per_sample(w, x.ndim)
        c = self.field(x, t, cond)
        # A stage of a solver may lie at the end already, where there is nothing ahead.
        length = torch.minimum(self._lengths(t, t), (self._end - t).clamp(min=0))
        there = x + per_sample(length, x.ndim) * c.velocity
        u_there, c_there = self.both(there, t + length, cond)
        guided = c.velocity + (w - 1) * (c_there.velocity - u_there.velocity)
        return Prediction(c.coefficients, x, velocity=guided), c
