r"""Classifier-free guidance.

.. math:: \tilde u(x \mid y) = (1 - w)\, u(x \mid \varnothing) + w\, u(x \mid y),

where :math:`w = 0` is unconditional, :math:`w = 1` conditional and :math:`w > 1` guided. The weights sum to one, so the
same rule holds for velocity, score, noise and data alike. By Bayes' rule the guided score of exact fields is

.. math:: \nabla \log p_t(x) + w\, \nabla \log p_t(y \mid x).

Source: Ho & Salimans (2022), arXiv 2207.12598, Eq. 6, whose weight is :math:`w - 1`.
"""

from collections.abc import Sequence

from torch import Tensor

from ..fields import Field
from ..paths import Prediction
from .base import Guidance, check_weight, guidance


@guidance.register("cfg")
class ClassifierFreeGuidance(Guidance):
    """Classifier-free guidance: (1 - w) unconditional + w conditional.

    Args:
        field: A field that knows its null condition.
        w: The weight, or one weight per sample, shape (B,).
    Raises:
        ValueError: if the field takes no conditions, or w is not finite.
    """

    def __init__(self, field: Field, w: float | Sequence[float] | Tensor = 1.0) -> None:
        super().__init__(field)
        if field.null(1) is None:
            raise ValueError("cfg needs a field with a null condition, and this one takes no conditions at all")
        self.w = check_weight(w)

    def predict(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Prediction:
        w = self.w
        if isinstance(w, Tensor):
            if len(w) != len(x):
                raise ValueError(f"w has {len(w)} weights for {len(x)} samples; it needs one per sample or one for all")
            w = w.to(x)
        # One evaluation is enough where one of the two has no weight.
        if cond is None or (isinstance(w, float) and w == 0):
            return self.field(x, t, None)
        if isinstance(w, float) and w == 1:
            return self.field(x, t, cond)
        return self.field(x, t, None).lerp(self.field(x, t, cond), w)
