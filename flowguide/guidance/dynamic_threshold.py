r"""Dynamic thresholding: no pixel of the data prediction beyond the range of the data.

.. math:: \tau = \max\left( b,\ \mathrm{quantile}_p |\hat z| \right), \qquad
          \tilde z = \frac{b}{\tau}\, \mathrm{clip}(\hat z, -\tau, \tau),

for data in :math:`[-b, b]`, where :math:`\hat z` is what a rule, classifier-free guidance say, predicts. The quantile
is over all dimensions of one sample. With p = 1 nothing is clipped and all is scaled.

Source: Saharia et al. (2022), arXiv 2205.11487, section 2.3 and appendix A.32, for b = 1.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..fields import Field
from ..paths import Kind, Prediction
from .base import guidance
from .modifier import Modifier
from .spaces import check_space
from .weights import Weight


@guidance.register("dynamic_threshold")
class DynamicThreshold(Modifier):
    """Another rule, its data prediction clipped to a quantile and scaled into the range of the data.

    Args:
        field: A rule, or a field for ``rule`` to be built on.
        w: The weight, for ``rule``.
        quantile: p, in (0, 1].
        bound: b, the largest absolute value of the data.
        space: "data", or None; no other prediction has a range.
        rule: The rule to threshold: a name or a mapping; None for the rule that ``field`` is, or cfg.
    Raises:
        ValueError: if the quantile is not in (0, 1], or the bound not positive.
    """

    space: Kind = "data"
    starts_at_reference = False
    conditional_at_1 = False
    affine_in_w = False

    def __init__(
        self,
        field: Field,
        w: Weight | None = None,
        quantile: float = 0.995,
        bound: float = 1.0,
        space: Kind | None = None,
        rule: str | Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(field, w, rule)
        if not 0 < quantile <= 1:
            raise ValueError(f"quantile is a share of the dimensions, above 0 and at most 1, not {quantile}")
        if not 0 < bound < math.inf:
            raise ValueError(f"bound is the largest absolute value of the data, positive and finite, not {bound}")
        self.quantile, self.bound = quantile, bound
        if space is not None:
            check_space(self, space, ("data",))

    def threshold(self, guided: Prediction) -> Prediction:
        data = guided.data
        # torch has quantiles in float32 and float64 alone.
        size = data.abs().flatten(1).to(torch.promote_types(data.dtype, torch.float32))
        tau = torch.quantile(size, self.quantile, dim=1).clamp(min=self.bound).to(data)
        tau = tau.reshape(-1, *[1] * (data.ndim - 1))
        return Prediction(guided.coefficients, guided.x, data=self.bound * (torch.clamp(data, -tau, tau) / tau))

    def predict(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Prediction:
        return self.threshold(self.field(x, t, cond))

    def with_conditional(self, x: Tensor, t: Tensor, cond: Tensor | None) -> tuple[Prediction, Prediction]:
        guided, c = self.field.with_conditional(x, t, cond)
        return self.threshold(guided), c
