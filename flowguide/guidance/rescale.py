r"""Rescaled guidance: the guided prediction with the standard deviation of the conditional one.

.. math:: \tilde F = \left[ \varphi\, \frac{\mathrm{std}(F_c)}{\mathrm{std}(G)} + 1 - \varphi \right] G,

where G is what a rule, classifier-free guidance say, predicts; strong guidance makes it too large, and images
over-exposed. The deviations are over all dimensions of one sample.

Source: Lin et al. (2023), arXiv 2305.08891, Eq. 14-16, for the output of their model, which predicts v; common
libraries apply it to whatever the model at hand predicts.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..fields import Field
from ..paths import Kind, Prediction
from .base import guidance
from .modifier import Modifier
from .spaces import check_space, ratio, std
from .weights import Weight


@guidance.register("rescale")
class Rescale(Modifier):
    """Another rule, its prediction scaled to the standard deviation of the conditional one.

    Args:
        field: A rule, or a field for ``rule`` to be built on.
        w: The weight, for ``rule``.
        phi: How much of it: 0 not at all, 1 to the deviation itself.
        space: The kind to act in; None for v, as in the paper.
        rule: The rule to rescale: a name or a mapping; None for the rule that ``field`` is, or cfg.
    Raises:
        ValueError: if phi is not in [0, 1].
    """

    space: Kind = "v"
    starts_at_reference = False
    conditional_at_1 = True
    affine_in_w = False

    def __init__(
        self,
        field: Field,
        w: Weight | None = None,
        phi: float = 0.7,
        space: Kind | None = None,
        rule: str | Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(field, w, rule)
        if not 0 <= phi <= 1:
            raise ValueError(f"phi is a share, from 0 (as it is) to 1 (rescaled), not {phi}")
        self.phi = phi
        if space is not None:
            self.space = check_space(self, space)

    def predict(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Prediction:
        return self.with_conditional(x, t, cond)[0]

    def with_conditional(self, x: Tensor, t: Tensor, cond: Tensor | None) -> tuple[Prediction, Prediction]:
        guided, c = self.field.with_conditional(x, t, cond)
        if guided is c:
            return c, c
        g = getattr(guided, self.space)
        spread = std(g)
        # States of one dimension have no deviation, and there is nothing to rescale.
        scale = ratio(std(getattr(c, self.space)), spread).where(spread > 0, 1.0)
        scaled = (self.phi * scale + 1 - self.phi).to(g.dtype) * g
        return Prediction(c.coefficients, c.x, **{self.space: scaled}), c
