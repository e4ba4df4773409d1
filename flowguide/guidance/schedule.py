r"""Any rule, with a weight that changes with time.

.. math:: w(t) = 1 + (w - 1)\, h(t)

with a schedule h between 0, the plain conditional prediction, and 1, the full weight. Every rule takes a schedule for
its w as it is; this one has the number w beside it, so that one shape can be compared at several weights
(``flowguide evaluate RUN guidance=schedule guidance.shape=cosine 'guidance.w=[1,2,4]'``).

Paths pass the same noise levels at other times. The unit "straight" counts in the time of the linear path,
:math:`\alpha_t / (\alpha_t + \sigma_t)`, so that one shape means the same on all of them.

Source: Wang et al. (2024), arXiv 2404.13040, which normalises h to a mean of 1 instead.
"""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from ..devices import sent
from ..fields import Field
from ..paths import Path, Prediction
from .base import guidance
from .modifier import Modifier
from .weights import Choose, Schedule, Weight, as_weight, schedules, with_rows


class Straight:
    """A schedule in the time of the linear path, on another."""

    def __init__(self, shape: Schedule, path: Path) -> None:
        self.shape, self.path = shape, path

    def __call__(self, t: Tensor) -> Tensor:
        return self.shape(torch.sigmoid(self.path.half_log_snr(t)))


class Scaled:
    """The schedule 1 + (w - 1) h(t), for a weight w of any sort."""

    def __init__(self, w: Weight, shape: Schedule) -> None:
        self.w, self.shape = as_weight(w), shape

    def __call__(self, t: Tensor) -> Tensor:
        w = self.w(t) if isinstance(self.w, Schedule) and not isinstance(self.w, Tensor) else self.w
        return 1 + ((sent(w, t.device, t.dtype) if isinstance(w, Tensor) else w) - 1) * self.shape(t)

    def with_rows(self, name: str, choose: Choose) -> "Scaled":
        """See :func:`.with_rows`."""
        w = with_rows(name, self.w, choose)
        return self if w is self.w else Scaled(w, self.shape)


@guidance.register("schedule")
class Scheduled(Modifier):
    """Another rule with the weight 1 + (w - 1) h(t), where the shape h goes from 0 to 1.

    Args:
        field: The field to guide, which may be a rule.
        w: The full weight: a number or one per sample, shape (B,).
        shape: h: a schedule's name, or a mapping of its name and options, or a function of t.
        rule: The rule whose weight it is: a name or a mapping.
        unit: What h is a function of: "t", or "straight", the time of the linear path at the same noise level.
    Raises:
        ValueError: if there is no such unit.
    """

    def __init__(
        self,
        field: Field,
        w: Weight = 1.0,
        shape: str | Mapping[str, Any] | Schedule = "linear",
        rule: str | Mapping[str, Any] = "cfg",
        unit: Literal["t", "straight"] = "t",
    ) -> None:
        if unit not in ("t", "straight"):
            raise ValueError(f"the unit of a schedule is one of t, straight, not {unit!r}")
        h = schedules.choose(shape) if isinstance(shape, (str, Mapping)) else shape
        if unit == "straight":
            h = Straight(h, field.path)
        # At w = 1 there is nothing to schedule, and half to evaluate.
        super().__init__(field, 1.0 if isinstance(w, (int, float)) and w == 1 else Scaled(w, h), rule)
        self.conditional_at_1, self.affine_in_w = self.field.conditional_at_1, self.field.affine_in_w
        self.starts_at_reference = False

    def predict(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Prediction:
        return self.field(x, t, cond)

    def with_conditional(self, x: Tensor, t: Tensor, cond: Tensor | None) -> tuple[Prediction, Prediction]:
        return self.field.with_conditional(x, t, cond)
