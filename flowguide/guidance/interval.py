r"""Guidance in a limited interval.

.. math:: \tilde F(x, t) = \begin{cases} \text{rule}(x, t, y) & \text{low} \le l_t \le \text{high} \\
          F(x, t, y) & \text{otherwise,} \end{cases}

where :math:`l_t` is the time, the log-SNR :math:`\log \alpha_t^2 / \sigma_t^2` or the noise level
:math:`\sigma_t / \alpha_t`, none of which moves with the steps of a solver. Outside the weight is 1, so that only the
conditional prediction is needed: half the cost.

Source: Kynkäänniemi et al. (2024), arXiv 2404.07724, whose noise levels are the sigma here, open at the low end
where ours is closed.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from ..fields import Field
from ..paths import Prediction
from .base import guidance
from .modifier import Modifier
from .weights import Weight

_LIMITS = {"t": (0.0, 1.0), "log_snr": (-math.inf, math.inf), "sigma": (0.0, math.inf)}


@guidance.register("interval")
class Interval(Modifier):
    """Another rule between two times, log-SNRs or noise levels, and the plain conditional prediction outside.

    Args:
        field: A rule, or a field for ``rule`` to be built on.
        w: The weight inside, for ``rule``.
        low, high: The ends of the interval, in ``unit``; None for none.
        unit: "t"; "log_snr", log(alpha^2 / sigma^2); or "sigma", the noise level sigma / alpha.
        rule: The rule inside: a name or a mapping; None for the rule that ``field`` is, or cfg.
    Raises:
        ValueError: if the interval is empty, or beyond what its unit can be.

    Outside *all* rules within are off, those that a nested rule is made of too.
    """

    def __init__(
        self,
        field: Field,
        w: Weight | None = None,
        low: float | None = None,
        high: float | None = None,
        unit: Literal["t", "log_snr", "sigma"] = "t",
        rule: str | Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(field, w, rule)
        if unit not in _LIMITS:
            raise ValueError(f"the unit of an interval is one of {', '.join(_LIMITS)}, not {unit!r}")
        first, last = _LIMITS[unit]
        self.low, self.high = first if low is None else low, last if high is None else high
        self.unit = unit
        if not self.low < self.high:
            raise ValueError(
                f"an interval goes from low up to high, low < high, not from {self.low:g} to {self.high:g}"
            )
        if not first <= self.low or not self.high <= last:
            raise ValueError(
                f"an interval in {unit} lies within [{first:g}, {last:g}], and {self.low:g} to {self.high:g} does not"
            )
        self.starts_at_reference = None if (low, high) != (None, None) else self.field.starts_at_reference
        self.conditional_at_1, self.affine_in_w = self.field.conditional_at_1, self.field.affine_in_w

    def inside(self, t: Tensor) -> Tensor:
        """Whether each time is in the interval, same shape as ``t``."""
        if self.unit == "t":
            level = t
        elif self.unit == "log_snr":
            level = 2 * self.path.half_log_snr(t)
        else:
            level = torch.exp(-self.path.half_log_snr(t))
        return (level >= self.low) & (level <= self.high)

    def predict(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Prediction:
        # To look at the times makes a GPU wait, and saves the evaluations outside.
        return self.field(x, t, cond) if self.inside(t).all() else self.with_conditional(x, t, cond)[0]

    def with_conditional(self, x: Tensor, t: Tensor, cond: Tensor | None) -> tuple[Prediction, Prediction]:
        inside = self.inside(t)
        if not inside.any():
            outside = self.outside(x, t, cond)
            return outside, outside
        guided, c = self.field.with_conditional(x, t, cond)
        if inside.all():
            return guided, c
        own = self.field.field is self.plain and self.plain.takes_conditions
        outside = c if own else self.outside(x, t, cond)
        return guided.where(inside, outside), c.where(inside, outside)

    def outside(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Prediction:
        """The conditional prediction beneath all rules; of a field that takes no conditions, its prediction."""
        return self.plain(x, t, cond if self.plain.takes_conditions else None)
