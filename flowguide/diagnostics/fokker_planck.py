r"""Residual of the Fokker-Planck equation of the score.

A field's own velocity and score say how the logarithm of the density changes, and therefore how its gradient does:

.. math:: \partial_t \log p + \nabla \cdot u + u \cdot s = 0 \quad \Rightarrow \quad
    R = \partial_t s + \nabla \left( \nabla \cdot u + u \cdot s \right) = 0.

With :math:`u = a x + b s` this is the published equation; no coefficient of the path is needed here. Exact scores have
R = 0. The mix of classifier-free guidance has not, though it is a gradient: there
:math:`R = b\, w (w - 1)\, \nabla |s_c - s_u|^2` with :math:`b = \sigma^2 \dot\lambda`, zero at w = 0 and 1 alone. The
mix is at no time the score of what diffuses, and so its flow does not draw from the tilted density.

In many dimensions the divergence is estimated by random signs (:mod:`.derivatives`), and the square of the mean of R
over probes by products of different ones, which has no bias.

Source: Lai et al. (2022), arXiv 2210.04296.
"""

import torch
from torch import Tensor

from ..fields import Field
from ..probing import signs, units
from .base import Diagnostic, Finding, at_least, diagnostics
from .derivatives import differentiating, in_full, linked, pieces, rate
from .statistics import root_of_ratio, squared_mean


@diagnostics.register("fokker_planck")
class FokkerPlanck(Diagnostic):
    """Residual of the score's Fokker-Planck equation, relative to the rate of the score.

    Args:
        exact: Compute the divergence exactly; None: in up to 16 dimensions.
        probes: Random vectors per sample, if it is not exact; at least 2.
        seed: Of the random vectors.
        chunk: Samples that are evaluated together, as for asymmetry.

    The parts are ``residual``, R, and ``rate``, the time derivative of the score, each of shape (B, *).
    """

    title, unit = "Fokker-Planck residual", "of the score's rate"

    def __init__(self, exact: bool | None = None, probes: int = 8, seed: int = 0, chunk: int | None = None) -> None:
        self.exact, self.seed, self.probes = exact, seed, at_least("probes", probes, 2)
        self.chunk = None if chunk is None else at_least("chunk", chunk, 1)

    def measure(self, field: Field, x: Tensor, t: Tensor, cond: Tensor | None, first: int) -> Finding:
        full = in_full("fokker_planck", x, self.exact, few=16)
        rates, residuals = [], []
        for state, time, label, start in pieces(field, x, t.expand(len(x)), cond, self.chunk, full):
            rates.append(rate(lambda t, x=state, y=label: field(x, t, y).score, time))
            gradients = self._of_flow(field, state, time, label, full, first + start)
            residuals.append(rates[-1] + gradients)  # (probes, B, *)
        of_score, residual = torch.cat(rates), torch.cat(residuals, 1)
        squares, scale = squared_mean(residual), of_score.flatten(1).double().square().sum(1)
        value, error = root_of_ratio(squares, scale)
        per_sample = torch.where(scale > 0, squares.clamp(min=0) / scale.where(scale > 0, 1), 0).sqrt().to(x)
        return Finding(value, error, per_sample, {"residual": residual.mean(0), "rate": of_score, "exact": full})

    def _of_flow(self, field: Field, x: Tensor, t: Tensor, cond: Tensor | None, full: bool, first: int) -> Tensor:
        """The gradient of div u + u . s, shape (1, B, *), or an estimate of it per probe, shape (probes, B, *)."""
        x = x.detach().requires_grad_()
        with differentiating():
            p = field(x, t, cond)
            velocity, score = linked(p.velocity), linked(p.score)
            vectors = units(x) if full else [signs(x, self.seed, probe, first) for probe in range(self.probes)]
            curvatures = []
            for v in vectors:
                (product,) = torch.autograd.grad(velocity, x, v.expand_as(x), create_graph=True)
                curvatures.append((product * v).sum())
            curvatures = [sum(curvatures)] if full else curvatures
            (common,) = torch.autograd.grad((velocity * score).sum(), x, retain_graph=True)
            return torch.stack([common + _gradient(each, x) for each in curvatures])


def _gradient(value: Tensor, x: Tensor) -> Tensor:
    """The gradient of a sum over samples; zero where it does not depend on x, as the divergence of a linear field."""
    if not value.requires_grad:
        return torch.zeros_like(x)
    (gradient,) = torch.autograd.grad(value, x, retain_graph=True, allow_unused=True)
    return torch.zeros_like(x) if gradient is None else gradient
