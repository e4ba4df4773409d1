r"""Independent condition guidance: a random condition in place of none, for models that were never trained without one.

.. math:: \tilde F(x \mid y) = (1 - w)\, F(x \mid y') + w\, F(x \mid y), \qquad y' \text{ uniform over the labels},

drawn anew for every sample and evaluation. The average over y' is not the unconditional prediction, which would take
the posterior weights :math:`p_t(y' \mid x)` and not the prior's; the rule is an approximation even for exact fields.

Source: Sadat et al. (2024), arXiv 2407.02687, section 4.1.
"""

import torch
from torch import Tensor

from ..fields import Field, Run
from ..paths import Prediction
from ..randomness import uniform
from .base import guidance
from .pair import Pair
from .together import together
from .weights import Weight

_STREAM = 2**31 + 2**30  # of random numbers: beyond those of any solver's steps


@guidance.register("independent_condition")
class IndependentCondition(Pair):
    """Independent condition guidance: (1 - w) prediction under a random label + w conditional.

    Args:
        field: A field of labels; it needs no null condition to have been trained.
        w: The weight: a number, one per sample, shape (B,), or a schedule.
        seed: Of the label outside a run; a run has its own.
        batched: Whether the field is evaluated once on a doubled batch; None for whatever is the faster.
    Raises:
        ValueError: if the field takes no labels.
    """

    conditional_at_1 = True
    affine_in_w = True
    draws = True

    def __init__(self, field: Field, w: Weight = 1.0, seed: int = 0, batched: bool | None = None) -> None:
        super().__init__(field, w, batched)
        self.seed, self.first, self.evaluation = seed, 0, 0

    def check_field(self, field: Field) -> None:
        if field.num_classes is None:
            raise ValueError("independent_condition draws labels, and this field takes no conditions that are labels")

    def for_run(self, run: Run) -> "IndependentCondition":
        fresh = self.copy_for(run)
        fresh.seed, fresh.first, fresh._runs = run.seed, run.first, True
        return fresh

    _runs = False

    def labels(self, x: Tensor) -> Tensor:
        """A label for each sample, shape (B,): others in every evaluation of a run, and one for all outside."""
        stream, count = _STREAM + self.evaluation, len(x) if self._runs else 1
        self.evaluation += self._runs
        u = uniform((count, 1), self.seed, stream=stream, first=self.first, device=x.device, dtype=torch.float64)
        return (u[:, 0] * self.num_classes).long().expand(len(x))

    def reference(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Prediction:
        return self.field(x, t, self.labels(x))

    def both(self, x: Tensor, t: Tensor, cond: Tensor | None) -> tuple[Prediction, Prediction]:
        u, c = together(self.field, x, t, (self.labels(x), cond), self.batched)
        return u, c
