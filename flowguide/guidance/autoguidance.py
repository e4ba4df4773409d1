r"""Autoguidance: away from a weaker model of the same thing.

.. math:: \tilde F(x \mid y) = (1 - w)\, F_{weak}(x \mid y) + w\, F(x \mid y).

Both predictions have the same condition, so that guidance pushes towards quality and not towards the condition; it
guides without a condition, too. The weaker model is a smaller network, or the same one trained for less time: an
earlier checkpoint, or an earlier moving average.

Source: Karras et al. (2024), arXiv 2406.02507.
"""

from torch import Tensor

from ..fields import Field
from ..paths import Prediction
from .base import guidance
from .pair import Pair
from .weights import Weight

_WORDS = {"path": "the path", "num_classes": "the number of classes", "shape": "states of the shape"}


@guidance.register("autoguidance")
class Autoguidance(Pair):
    """Autoguidance: (1 - w) weak + w strong, both with the condition.

    Args:
        field: The strong field.
        weak: A weaker field: same path, same shape of states, same classes.
        w: The weight: a number, one per sample, shape (B,), or a schedule.
    Raises:
        ValueError: if the weak field has another path, shape or number of classes.
    """

    starts_at_reference = True
    conditional_at_1 = True
    affine_in_w = True

    def __init__(self, field: Field, weak: Field, w: Weight = 1.0) -> None:
        super().__init__(field, w)
        if not isinstance(weak, Field):
            raise ValueError(f"the weak model of autoguidance is a Field, not {weak!r:.80}")
        for what in _WORDS:
            ours, theirs = getattr(field, what), getattr(weak, what)
            unknown = what == "shape" and None in (ours, theirs)
            if ours != theirs and not unknown:
                raise ValueError(
                    f"the weak model has {_WORDS[what]} {theirs} and the strong one {ours}; "
                    f"autoguidance needs two of the same"
                )
        self.weak = weak

    @property
    def t_min(self) -> float:
        return max(self.field.t_min, self.weak.t_min)

    @property
    def t_max(self) -> float:
        return min(self.field.t_max, self.weak.t_max)

    def check_field(self, field: Field) -> None:
        """A field without conditions is as good as any."""

    def unguided(self, cond: Tensor | None) -> bool:
        return False

    def reference(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Prediction:
        return self.weak(x, t, cond)

    def both(self, x: Tensor, t: Tensor, cond: Tensor | None) -> tuple[Prediction, Prediction]:
        return self.weak(x, t, cond), self.field(x, t, cond)
