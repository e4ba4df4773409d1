r"""Several conditions at once: a product of experts.

.. math:: \tilde s(x) = s(x) + w \sum_i v_i \left[ s(x \mid y_i) - s(x) \right],

which for exact fields is the score of :math:`p_t(x) \prod_i p_t(y_i \mid x)^{w v_i}`; with a negative :math:`v_i` the
condition is negated. The weights sum to one, with :math:`1 - w \sum_i v_i` for the unconditional prediction, so that
the same holds for every kind of prediction. With one condition this is classifier-free guidance.

Source: Liu et al. (2022), arXiv 2206.01714 (conjunction; with a negative weight, negation).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..fields import Field, Run
from ..paths import Prediction
from .base import Guidance, guidance
from .conditions import Condition, condition_of
from .together import together
from .weights import Weight, as_weight, weight_at


@guidance.register("multi")
class Multi(Guidance):
    """Several conditions at once: unconditional + w sum_i v_i (conditional_i - unconditional).

    Args:
        field: A field that takes conditions.
        w: The weight of all: a number, one per sample, shape (B,), or a schedule.
        labels: Conditions for every sample, beside the ones that it is called with: labels, captions, or conditions
            as the field takes them. Labels that it is called with may be several for each sample, shape (B, n).
        weights: The v_i: first of the conditions that it is called with, then of ``labels``; None for 1 each.
        batched: Whether the field is evaluated once on a batch of all; None for whatever is the faster.
    Raises:
        ValueError: if the field takes no conditions, or none as one of them.
    """

    starts_at_reference = True
    affine_in_w = True

    def __init__(
        self,
        field: Field,
        w: Weight = 1.0,
        labels: Sequence[Condition] = (),
        weights: Sequence[float] | None = None,
        batched: bool | None = None,
    ) -> None:
        super().__init__(field)
        if field.needs_condition:
            raise ValueError("multi weighs labels against the unconditional prediction, and this field has none")
        if field.null(1) is None:
            raise ValueError("multi composes conditions, and this field takes none")
        self.labels = tuple(condition_of(field, label) for label in labels)
        self._several = field.num_classes is not None  # a sample may have several labels, and no several captions
        self.w = as_weight(w)
        self.weights = None if weights is None else tuple(float(v) for v in weights)
        if self.weights is not None and not torch.tensor(self.weights).isfinite().all():
            raise ValueError(f"weights must be finite numbers, not {list(self.weights)}")
        self.batched = batched
        self._kept: tuple[Tensor, list[Tensor]] | None = None  # the conditions of a run, and each by itself
        # Of one label; with several there is no one conditional prediction.
        self.conditional_at_1 = not self.labels and self.weights in (None, (1.0,))

    @property
    def power(self) -> float | None:
        """w v of one condition; None if there are several."""
        shares, power = self.weights or (1.0,), self.power_of(self.w)
        return None if self.labels or len(shares) > 1 or power is None else shares[0] * power

    def check_condition(self, cond: Tensor | None, batch: int) -> None:
        if not isinstance(cond, Tensor) or cond.ndim != 2 or not self._several:
            return super().check_condition(cond, batch)
        for column in cond.unbind(1):
            super().check_condition(column, batch)

    def for_run(self, run: Run) -> "Multi":
        if run.cond is None:
            return super().for_run(run)
        fresh = self.copy_for(run)
        # The same tensors at every step, which the field need encode only once.
        fresh._kept = run.cond, self._one_by_one(run.cond, len(run.cond), run.cond.device)
        return fresh

    def _one_by_one(self, cond: Tensor | None, batch: int, device: torch.device) -> list[Tensor]:
        """All conditions, each with a row per sample: those given, and the rule's own."""
        several = self._several and cond is not None and cond.ndim == 2
        given = [] if cond is None else list(cond.unbind(1)) if several else [cond]
        return given + [label.to(device).expand(batch, *label.shape) for label in self.labels]

    def predict(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Prediction:
        w = weight_at(self.w, t, x)
        kept = self._kept is not None and self._kept[0] is cond
        conds = self._kept[1] if kept else self._one_by_one(cond, len(x), x.device)
        weights = (1.0,) * len(conds) if self.weights is None else self.weights
        if len(weights) != len(conds):
            raise ValueError(f"multi has {len(weights)} weights for {len(conds)} labels; it needs one for each")
        # What has no weight is not evaluated.
        used = [(cond, w * v) for cond, v in zip(conds, weights, strict=True) if v]
        if not used or (isinstance(w, float) and w == 0):
            return self.field(x, t, None)
        if len(used) == 1 and isinstance(used[0][1], float) and used[0][1] == 1:
            return self.field(x, t, used[0][0])
        u, *others = together(self.field, x, t, (None, *(cond for cond, _ in used)), self.batched)
        return u.mix(others, [weight for _, weight in used])
