r"""Rules that weigh two predictions against each other.

.. math:: \tilde F = f(F_u, F_c, w),

with a reference :math:`F_u` that is guided away from, the unconditional prediction for most, and the conditional
:math:`F_c`. A rule whose f is not affine with weights that sum to one gives different results in different kinds of
prediction: such a one is a :class:`.SpacePair` and says in which it acts.
"""

from torch import Tensor

from ..fields import Field
from ..paths import Prediction
from .base import Guidance
from .together import together
from .weights import Weight, as_weight, weight_at


class Pair(Guidance):
    """A rule made of a reference and a conditional prediction.

    Args:
        field: A field that takes conditions.
        w: The weight: a number, one per sample, shape (B,), or a schedule (:mod:`flowguide.guidance.weights`).
        batched: Whether the field is evaluated once on a doubled batch; None for whatever is the faster.
    Raises:
        ValueError: if the field takes no conditions, or w is not finite.
    """

    def __init__(self, field: Field, w: Weight = 1.0, batched: bool | None = None) -> None:
        super().__init__(field)
        self.check_field(field)
        self.w = as_weight(w)
        self.batched = batched

    def check_field(self, field: Field) -> None:
        """Refuse a field that the rule has no use for."""
        if field.needs_condition:
            raise ValueError(
                f"{self.name} needs a field with a null condition, and this one was trained without: take no "
                f"guidance ('~guidance'), independent_condition, or that of a classifier with base=conditional"
            )
        if not field.takes_conditions:
            raise ValueError(
                f"{self.name} needs a field with a null condition, and this one takes no conditions at all: take no "
                f"guidance, on the command line '~guidance'"
            )

    def combine(self, u: Prediction, c: Prediction, w: float | Tensor) -> Prediction:
        """The guided prediction, from the reference, the conditional one and the weight, a number or shape (B,)."""
        return u.lerp(c, w)

    def reference(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Prediction:
        """The prediction that is guided away from."""
        return self.field(x, t, None)

    def both(self, x: Tensor, t: Tensor, cond: Tensor | None) -> tuple[Prediction, Prediction]:
        """The reference and the conditional prediction."""
        u, c = together(self.field, x, t, (None, cond), self.batched)
        return u, c

    def unguided(self, cond: Tensor | None) -> bool:
        """Whether there is nothing to be guided towards."""
        return cond is None

    def predict(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Prediction:
        w = weight_at(self.w, t, x)
        # One evaluation is enough where one of the two has no weight.
        if self.unguided(cond) or (isinstance(w, float) and w == 1 and self.conditional_at_1):
            return self.field(x, t, cond)
        if isinstance(w, float) and w == 0 and self.starts_at_reference:
            return self.reference(x, t, cond)
        return self.combine(*self.both(x, t, cond), w)

    def with_conditional(self, x: Tensor, t: Tensor, cond: Tensor | None) -> tuple[Prediction, Prediction]:
        w = weight_at(self.w, t, x)
        if self.unguided(cond) or (isinstance(w, float) and w == 1 and self.conditional_at_1):
            c = self.field(x, t, cond)
            return c, c
        u, c = self.both(x, t, cond)
        return self.combine(u, c, w), c
