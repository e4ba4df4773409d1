r"""Path dependence of the implicit classifier: what p(y | x) one would recover depends on the way there.

.. math::
    \log \frac{p(y \mid x)}{p(y \mid x_0)} = \int_0^1 \left[ s(x(\tau) \mid y) - s(x(\tau)) \right] \cdot
    \dot x(\tau)\, d\tau, \qquad x(0) = x_0, \; x(1) = x,

holds along every path if the difference of the two scores is a gradient, as that of exact scores is. Here it is
integrated along a straight path and several bent ones,

.. math:: x(\tau) = x_0 + \tau (x - x_0) + \ell \left[ c_1 \sin \pi \tau + \tfrac12 c_2 \sin 2 \pi \tau \right],
    \qquad \ell = \kappa\, |x - x_0|,

with random directions c of unit length on average, by Gauss's rule; the spread over the paths is in nats.

Of a guided field this measures the classifier that is implicit in the mix,
:math:`\tilde s(x \mid y) - s(x)`, the difference of the rule under the condition and under none. For classifier-free
guidance it is :math:`w` times that of the field beneath, :math:`\log p(y \mid x)^w`, and so is its spread.
"""

import math

import numpy as np
import torch
from torch import Tensor

from ..fields import Field
from ..randomness import normal
from .base import Diagnostic, Finding, at_least, beneath, diagnostics
from .statistics import finding_of_squares


@diagnostics.register("path_dependence")
class PathDependence(Diagnostic):
    """Spread of the implicit log p(y | x) over paths from an anchor, in nats.

    Args:
        paths: How many, at least 2; the first is straight.
        bend: How far the others lead away from it, as a share of its length.
        points: On a path, at least 2; each costs two evaluations of the field per path.
        anchor: Where the paths start, of the shape of one state; None: at the origin.
        w: The power of p(y | x) that the truth is raised to before the two are compared; None: that of the rule
            (:attr:`.Field.power`), if it states one.
        seed: Of the bends.

    The parts are ``log_ratio``, shape (B, paths), and where w is known and the field beneath an exact mixture ``true``,
    w log p(y | x) / p(y | x_0), and ``error``, the mean over the paths less the truth, each of shape (B,).
    """

    title, unit = "path dependence", "nats"

    def __init__(
        self,
        paths: int = 4,
        bend: float = 0.5,
        points: int = 48,
        anchor: Tensor | None = None,
        w: float | None = None,
        seed: int = 0,
    ) -> None:
        self.paths, self.points = at_least("paths", paths, 2), at_least("points", points, 2)
        if not 0 < bend < math.inf:
            raise ValueError(f"bend is a share of the length of the straight path, positive and finite, not {bend}")
        self.bend, self.anchor, self.w, self.seed = bend, anchor, w, seed

    def measure(self, field: Field, x: Tensor, t: Tensor, cond: Tensor | None, first: int) -> Finding:
        if cond is None:
            raise ValueError(
                "path_dependence recovers log p(y | x) and needs the conditions y, one per sample; got None"
            )
        origin = torch.zeros_like(x) if self.anchor is None else self.anchor.to(x).expand_as(x)
        nodes, weights = np.polynomial.legendre.leggauss(self.points)
        with torch.no_grad():
            ratios = []
            for path in range(self.paths):
                bends = self._bends(x - origin, path, first)
                total = x.new_zeros(len(x)).double()
                for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
                    state, ahead = _on_path(origin, x, bends, float(node))
                    difference = field(state, t, cond).score - field(state, t, None).score
                    total = total + float(weight) * (difference * ahead).flatten(1).double().sum(1)
                ratios.append(total)
            ratio = torch.stack(ratios, 1)
            found = finding_of_squares(ratio.var(1).to(x), log_ratio=ratio.to(x))
            power = field.power if self.w is None else self.w
            if power is not None and hasattr(exact := beneath(field), "posterior"):
                there, here = (_log_posterior(exact, state, t, cond) for state in (origin, x))
                true = power * (here - there)
                found.parts.update(true=true, error=ratio.mean(1).to(x) - true)
        return found

    def _bends(self, way: Tensor, path: int, first: int) -> list[Tensor]:
        """The vectors l c of the formula; none for the first path, which is straight."""
        if path == 0:
            return []
        length = way.flatten(1).norm(dim=1).reshape(-1, *[1] * (way.ndim - 1))
        options = {"first": first, "device": way.device, "dtype": torch.float64}
        draws = [normal(way.shape, self.seed, stream=2 * path + i, **options).to(way) for i in range(2)]
        return [self.bend * length * draw / (i * way[0].numel() ** 0.5) for i, draw in enumerate(draws, 1)]


def _on_path(origin: Tensor, x: Tensor, bends: list[Tensor], tau: float) -> tuple[Tensor, Tensor]:
    """The state at ``tau`` and its derivative, each like x."""
    state, ahead = origin + tau * (x - origin), x - origin
    for i, bend in enumerate(bends, 1):
        state = state + math.sin(i * math.pi * tau) * bend
        ahead = ahead + i * math.pi * math.cos(i * math.pi * tau) * bend
    return state, ahead


def _log_posterior(field: Field, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
    """log p_t(y | x) up to what does not depend on x, which is finite where p(y | x) is too small for a number."""
    return field.log_prob(x, t, cond) - field.log_prob(x, t)
