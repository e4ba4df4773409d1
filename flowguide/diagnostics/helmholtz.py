r"""Helmholtz's split of a prediction in the plane: a gradient, and a rotational rest.

.. math:: f = \nabla \varphi + g, \qquad \nabla \cdot (p\, g) = 0, \qquad
    E_p |f|^2 = E_p |\nabla \varphi|^2 + E_p |g|^2,

on a grid around the states (:mod:`flowguide.diagnostics.grids`). Weighted by the density p that f belongs to, the rest
is what leaves p as it is: of :math:`s + c R_{90} s`, with the score turned by a right angle, it is
:math:`c R_{90} s`, and has the share :math:`c^2 / (1 + c^2)` of the energy. Unweighted it is the textbook's.
"""

from collections.abc import Callable, Sequence
from typing import Literal

from torch import Tensor

from ..fields import Field
from .base import Diagnostic, Finding, at_least, beneath, check_kind, diagnostics, one_question
from .grids import Split, box_around, check_box, split


@diagnostics.register("helmholtz")
class Helmholtz(Diagnostic):
    """Share of the energy of a prediction that is rotational, on a grid in the plane.

    Args:
        kind: The prediction.
        weighting: "density" or "uniform"; None: by the density where one is known.
        density: log p as a function of (x, t, cond), shape (B,); None: ``log_prob`` of the field, or of the one beneath
            all rules.
        box: [low, high, low, high] of the grid; None: around the states.
        margin: Of the box around the states, on either side, as a share of their extent.
        cells: Along each side of the grid, at least 4; the field is evaluated at some 6 cells^2 points.

    The parts are those of :class:`.grids.Split`, and ``weighting``.
    """

    title, unit, pointwise = "rotational share", "", False

    def __init__(
        self,
        kind: str = "score",
        weighting: Literal["density", "uniform"] | None = None,
        density: Callable | None = None,
        box: Sequence[float] | None = None,
        margin: float = 0.25,
        cells: int = 64,
    ) -> None:
        self.kind, self.weighting, self.density = check_kind(kind), weighting, density
        self.box, self.margin, self.cells = check_box(box), margin, at_least("cells", cells, 4)

    def measure(self, field: Field, x: Tensor, t: Tensor, cond: Tensor | None, first: int) -> Finding:
        if tuple(x.shape[1:]) != (2,):
            raise ValueError(f"helmholtz lays a grid over the plane: states have shape (B, 2), not {tuple(x.shape)}")
        time, one = one_question("helmholtz", t, cond)
        density = self._density(field)

        def label(count: int) -> Tensor | None:
            return None if one is None else one.expand(count, *one.shape[1:])

        parts = split(
            lambda state: getattr(field(state, time, label(len(state))), self.kind),
            density and (lambda state: density(state, time, label(len(state)))),
            self.box or box_around(x, self.margin),
            self.cells,
            like=x,
        )
        weighting = "density" if density else "uniform"
        return Finding(parts.share, 0.0, parts.share_at(x), {**as_parts(parts), "weighting": weighting})

    def _density(self, field: Field) -> Callable | None:
        if self.weighting == "uniform":
            return None
        known = self.density or getattr(field, "log_prob", None) or getattr(beneath(field), "log_prob", None)
        if known is None and self.weighting == "density":
            raise ValueError(
                f"helmholtz weighs by a density, and {type(field).__name__} knows none: give density, a function of "
                f"(x, t, cond), or weighting='uniform'"
            )
        return known


def as_parts(found: Split) -> dict:
    """What a split is made of, by name."""
    return {**vars(found), "energies": found.energies}
