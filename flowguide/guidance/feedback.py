r"""Feedback guidance: a weight that is larger where the condition is less certain.

.. math::
    \tilde s = (1 - w(x))\, s + w(x)\, s_\theta(x \mid y), \qquad
    w(x) = \frac{\rho}{\rho - (1 - \pi)}, \qquad \rho = \frac{p_\theta(x \mid y)}{p(x)},

which undoes exactly what a conditional model gets wrong if it mixes in the unconditional law,
:math:`p_\theta(x \mid y) = \pi\, p(x \mid y) + (1 - \pi)\, p(x)`: the result is the score of :math:`p(x \mid y)`.

Source: Koulischer et al. (2025), arXiv 2506.06085. They track :math:`\rho` along the trajectory of a
sampler; a rule keeps nothing between evaluations, so that here it comes from the densities of an exact field, or from
a function such as a classifier of noisy states: by Bayes' rule :math:`\rho = p_t(y \mid x) / p(y)`.
"""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from ..fields import Field
from ..paths import Prediction
from .base import guidance
from .pair import Pair


@runtime_checkable
class LogRatio(Protocol):
    """log p(x | y) - log p(x), shape (B,)."""

    def __call__(self, x: Tensor, t: Tensor, cond: Tensor) -> Tensor: ...


@guidance.register("feedback")
class FeedbackGuidance(Pair):
    """Feedback guidance: cfg with a weight per state, from the likelihood ratio of conditional and unconditional.

    Args:
        field: A field that knows its null condition.
        pi: The share of the conditional model that is right, in (0, 1]; 1 is no guidance.
        w_max: The largest weight, at least 1: where rho <= 1 - pi the formula has none.
        log_ratio: log rho as a function of (x, t, cond), shape (B,); None for that of an exact field, by ``log_prob``.
    Raises:
        ValueError: if an option is out of its range, or the field has no ``log_prob`` and there is no ``log_ratio``.
    """

    def __init__(self, field: Field, pi: float = 0.9, w_max: float = 10.0, log_ratio: LogRatio | None = None) -> None:
        super().__init__(field)
        if not 0 < pi <= 1:
            raise ValueError(f"pi is the share of the model that is right, above 0 and at most 1, not {pi}")
        if not w_max >= 1:
            raise ValueError(f"w_max is the largest weight, at least 1, not {w_max}")
        if log_ratio is None and not hasattr(field, "log_prob"):
            raise ValueError(
                "feedback needs the likelihood ratio of conditional and unconditional: a field with log_prob, as "
                f"MixtureField, or log_ratio, a function of (x, t, cond); {type(field).__name__} has none"
            )
        self.pi, self.w_max, self.log_ratio = pi, w_max, log_ratio

    def weight(self, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        """w(x), shape (B,), in [1, w_max]."""
        if self.log_ratio is not None:
            log_ratio = self.log_ratio(x, t, cond)
        else:
            log_ratio = self.field.log_prob(x, t, cond) - self.field.log_prob(x, t)
        share = (1 - self.pi) * torch.exp(-log_ratio)  # of p_theta(x | y) that is p(x)'s
        most = 1 - 1 / self.w_max
        return torch.where(share < most, 1 / (1 - share.clamp(max=most)), self.w_max).to(x.dtype)

    def predict(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Prediction:
        if cond is None or self.pi == 1:
            return self.field(x, t, cond)
        return self.with_conditional(x, t, cond)[0]

    def with_conditional(self, x: Tensor, t: Tensor, cond: Tensor | None) -> tuple[Prediction, Prediction]:
        if cond is None:
            return super().with_conditional(x, t, cond)
        u, c = self.both(x, t, cond)
        return u.lerp(c, self.weight(x, t, cond)), c
