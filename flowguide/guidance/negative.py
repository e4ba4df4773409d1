r"""A negative condition: away from a second condition, in place of none.

.. math:: \tilde F(x \mid y) = (1 - w)\, F(x \mid y') + w\, F(x \mid y),

whose score, for exact fields, is that of :math:`p_t(x \mid y') \left[ p_t(x \mid y) / p_t(x \mid y') \right]^w` at
each t.

Source: Liu et al. (2022), arXiv 2206.01714 (concept negation), which has the unconditional prediction
besides; that is the rule ``multi`` with a negative weight. The form here is the "negative prompt" of common practice.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..fields import Field, Run
from ..paths import Prediction
from .base import guidance
from .conditions import Condition, condition_of, row_of
from .pair import Pair
from .together import together
from .weights import Weight


@guidance.register("negative")
class Negative(Pair):
    """A negative condition: (1 - w) prediction under it + w prediction under the condition.

    Args:
        field: A field that takes conditions.
        negative: The condition to guide away from: a label, a caption, or a condition as the field takes them; or one
            per sample, shape (B, ...).
        w: The weight: a number, one per sample, shape (B,), or a schedule.
        batched: Whether the field is evaluated once on a doubled batch; None for whatever is the faster.
    Raises:
        ValueError: if the field takes no conditions, or none as that one.
    """

    starts_at_reference = True
    conditional_at_1 = True
    affine_in_w = True

    def __init__(
        self, field: Field, negative: Condition | Sequence[Condition], w: Weight = 1.0, batched: bool | None = None
    ) -> None:
        super().__init__(field, w, batched)
        self.negative = condition_of(field, negative)
        self.for_all = self.negative.shape == row_of(field)
        self.by_sample = ("w",) if self.for_all else ("w", "negative")

    def check_field(self, field: Field) -> None:
        if not field.takes_conditions:
            raise ValueError(f"{self.name} guides from one condition to another, and this field takes none at all")

    def for_run(self, run: Run) -> "Negative":
        if run.cond is None:
            return super().for_run(run)
        fresh = self.copy_for(run)
        # One tensor for the whole run, on its device, which the field need encode only once.
        fresh.negative, fresh.for_all = fresh._negative(run.cond), False
        return fresh

    def unguided(self, cond: Tensor | None) -> bool:
        return False

    def reference(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Prediction:
        return self.field(x, t, self._negative(x))

    def both(self, x: Tensor, t: Tensor, cond: Tensor | None) -> tuple[Prediction, Prediction]:
        u, c = together(self.field, x, t, (self._negative(x), cond), self.batched)
        return u, c

    def _of_all(self, batch: int, device: torch.device) -> Tensor:
        return self.negative.to(device).expand(batch, *self.negative.shape)

    def _negative(self, x: Tensor) -> Tensor:
        if self.for_all:
            return self._of_all(len(x), x.device)
        if len(self.negative) != len(x):
            raise ValueError(
                f"there are {len(self.negative)} negative conditions for {len(x)} samples; it needs one per sample, or "
                f"one for all"
            )
        return self.negative.to(x.device)
