r"""Gauge: how much of what tells a field from an exact one has an effect on the density.

For the difference r of two velocities and the score s of the exact one,

.. math:: \partial_t \log p + \nabla \cdot u + u \cdot s = 0, \qquad
    q = \nabla \cdot r + r \cdot s = \frac{1}{p} \nabla \cdot (p\, r):

p loses :math:`q` nats per unit time at x by the presence of r. Where q = 0 everywhere, r is a gauge field: it moves
samples about and leaves every density as it is, however asymmetric its Jacobian. :math:`c R_{90} s`, the score turned
by a right angle, is one, with an asymmetry of order c; :math:`c R_{90} x`, a rotation of space, is none unless p is
round. That is why asymmetry alone is not an error.

In the plane r is also split, :math:`r = \nabla \varphi + g` with :math:`\nabla \cdot (p\, g) = 0`
(:mod:`flowguide.diagnostics.grids`): the share of the energy in g is gauge.

Source: Horvat & Pfister (2024), arXiv 2402.03845, "On gauge freedom, conservativity and intrinsic dimensionality
estimation in diffusion models".
"""

import torch
from torch import Tensor

from ..fields import Field
from ..probing import signs, units
from .base import Diagnostic, Finding, at_least, beneath, diagnostics, one_question
from .derivatives import Linearised, in_full, keeps_rows, pieces
from .grids import box_around, check_box, split
from .helmholtz import as_parts
from .statistics import finding_of_squares, squared_mean


@diagnostics.register("gauge")
class Gauge(Diagnostic):
    """Rate at which a field's difference from an exact one changes the density; 0 for a gauge field.

    Args:
        reference: The exact field; None: the one beneath all rules, if it knows its density.
        exact: Compute the divergence exactly; None: in up to 16 dimensions.
        probes: Random vectors per sample, if it is not exact; at least 2.
        seed: Of the random vectors.
        chunk: Samples that are evaluated together, as for asymmetry.
        box, margin, cells: Of the grid in the plane, as for helmholtz.

    The parts are ``effect``, q, shape (B,), and ``difference``, the root mean square of r; in the plane, at one time
    and under one condition, also ``share``, that of the energy of r that is gauge (1 where r is nothing but rounding),
    and ``split``, as of helmholtz.
    """

    title, unit = "effect on the density", "nats per unit time"

    def __init__(
        self,
        reference: Field | None = None,
        exact: bool | None = None,
        probes: int = 8,
        seed: int = 0,
        chunk: int | None = None,
        box: list[float] | None = None,
        margin: float = 0.25,
        cells: int = 64,
    ) -> None:
        self.reference, self.exact, self.seed = reference, exact, seed
        self.probes, self.cells = at_least("probes", probes, 2), at_least("cells", cells, 4)
        self.chunk = None if chunk is None else at_least("chunk", chunk, 1)
        self.box, self.margin = check_box(box), margin

    def measure(self, field: Field, x: Tensor, t: Tensor, cond: Tensor | None, first: int) -> Finding:
        reference = beneath(field) if self.reference is None else self.reference
        if self.reference is None and not hasattr(reference, "log_prob"):
            raise ValueError(
                f"gauge compares with a field whose densities are known, and there is none beneath this one "
                f"({type(reference).__name__}): give reference, a MixtureField say"
            )
        full = in_full("gauge", x, self.exact, few=16)
        effects, squares, speeds = [], [], []
        for state, time, label, start in pieces(field, x, t, cond, self.chunk, full):
            with torch.no_grad():
                exact = reference(state, time, label)
            linear = Linearised(lambda s, t=time, y=label: field(s, t, y).velocity - reference(s, t, y).velocity, state)
            along = (linear.value * exact.score).flatten(1).sum(1)
            if full:
                products = torch.stack([(linear.transposed(v) * v).flatten(1).sum(1) for v in units(state)])
                effects.append(along + products.sum(0, keepdim=True))
            else:
                probes = [signs(state, self.seed, probe, first + start) for probe in range(self.probes)]
                effects.append(along + torch.stack([(linear.transposed(v) * v).flatten(1).sum(1) for v in probes]))
            squares.append(linear.value.flatten(1).double().square().sum(1))
            speeds.append(exact.velocity.flatten(1).double().square().sum(1))
        effect = torch.cat(effects, 1)  # (probes, B)
        found = finding_of_squares(squared_mean(effect).to(x), effect=effect.mean(0))
        found.parts["difference"] = float(torch.cat(squares).mean().sqrt())
        if tuple(x.shape[1:]) == (2,) and not keeps_rows(field):
            self._add_split(found, field, reference, x, t, cond)
        rounding = 8 * torch.finfo(x.dtype).eps * float(torch.cat(speeds).mean().sqrt())
        if "share" in found.parts and found.parts["difference"] <= rounding:
            found.parts["share"] = 1.0
        return found

    def _add_split(
        self, found: Finding, field: Field, reference: Field, x: Tensor, t: Tensor, cond: Tensor | None
    ) -> None:
        """The split of r on a grid, where one grid has the answer for all samples and the density is known."""
        try:
            time, one = one_question("gauge", t, cond)
        except ValueError:
            return
        if not hasattr(reference, "log_prob"):
            return

        def label(state: Tensor) -> Tensor | None:
            return None if one is None else one.expand(len(state), *one.shape[1:])

        parts = split(
            lambda s: field(s, time, label(s)).velocity - reference(s, time, label(s)).velocity,
            lambda s: reference.log_prob(s, time, label(s)),
            self.box or box_around(x, self.margin),
            self.cells,
            like=x,
        )
        found.parts.update(share=parts.share, split=as_parts(parts))
