r"""Classifier-free guidance.

.. math:: \tilde u(x \mid y) = (1 - w)\, u(x \mid \varnothing) + w\, u(x \mid y),

where :math:`w = 0` is unconditional, :math:`w = 1` conditional and :math:`w > 1` guided. The weights sum to one, so the
same rule holds for velocity, score, noise and data alike. By Bayes' rule the guided score of exact fields is

.. math:: \nabla \log p_t(x) + w\, \nabla \log p_t(y \mid x).

Source: Ho & Salimans (2022), arXiv 2207.12598, Eq. 6, whose weight is :math:`w - 1`.
"""

from .base import guidance
from .pair import Pair


@guidance.register("cfg")
class ClassifierFreeGuidance(Pair):
    """Classifier-free guidance: (1 - w) unconditional + w conditional.

    Args:
        field: A field that knows its null condition.
        w: The weight: a number, one per sample, shape (B,), or a schedule.
        batched: Whether the field is evaluated once on a doubled batch; None for whatever is the faster.
    Raises:
        ValueError: if the field takes no conditions, or w is not finite.
    """

    starts_at_reference = True
    conditional_at_1 = True
    affine_in_w = True

    @property
    def power(self) -> float | None:
        return self.power_of(self.w)
