r"""Circulation: the line integral of a prediction around closed loops, which is zero for a gradient.

.. math::
    \Gamma = \oint f \cdot dl \approx \frac{2 \pi r}{N} \sum_{n=1}^{N} f\left(x + r\, e_n\right) \cdot e_n', \qquad
    e_n = a \cos \theta_n + b \sin \theta_n, \quad \theta_n = 2 \pi n / N,

around circles in random planes spanned by orthonormal a and b. The trapezoidal rule on a smooth closed curve converges
faster than any power of 1/N. For the score :math:`\Gamma` is in nats: by so much the logarithm of the density that one
would recover differs from itself after one turn. In two dimensions there is one plane, and by Green's theorem
:math:`\Gamma` is the integral of the curl over the disc. Asymmetry is local, this is not: rotations that
cancel within the loop cancel here.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..fields import Field
from ..randomness import normal
from .base import Diagnostic, Finding, at_least, check_kind, diagnostics
from .statistics import finding_of_squares


@diagnostics.register("circulation")
class Circulation(Diagnostic):
    """Circulation of a prediction around circles through random planes: the root mean square over loops.

    Args:
        kind: The prediction.
        radius: Of the circles, in data units, > 0; several in a list.
        planes: Random planes per sample; in two dimensions there is one.
        points: On a circle, at least 3. Each costs an evaluation of the field per circle.
        seed: Of the planes.

    The parts are ``circulation``, shape (B, radii, planes), counter-clockwise in two dimensions, ``radius``, and
    ``relative``, the headline over what a field of the same size that always points ahead would have.
    """

    title, unit = "circulation", "nats for the score"

    def __init__(
        self,
        kind: str = "score",
        radius: float | Sequence[float] = 0.5,
        planes: int = 4,
        points: int = 64,
        seed: int = 0,
    ) -> None:
        self.kind, self.seed = check_kind(kind), seed
        self.radii = [float(radius)] if isinstance(radius, (int, float)) else [float(r) for r in radius]
        if not self.radii or not all(0 < r < math.inf for r in self.radii):
            raise ValueError(f"radius is the radius of a circle, or several in a list, positive and finite: {radius}")
        self.planes, self.points = at_least("planes", planes, 1), at_least("points", points, 3)

    def measure(self, field: Field, x: Tensor, t: Tensor, cond: Tensor | None, first: int) -> Finding:
        dim = x[0].numel()
        if dim < 2:
            raise ValueError("circulation needs a plane to go round in: the states have 1 dimension, not 2 or more")
        angles = torch.arange(self.points, dtype=torch.float64) * (2 * math.pi / self.points)
        circulations, sizes = [], []
        with torch.no_grad():
            for plane in range(1 if dim == 2 else self.planes):
                a, b = _plane(x, self.seed, plane, first)
                for radius in self.radii:
                    total, squares = x.new_zeros(len(x)).double(), x.new_zeros(len(x)).double()
                    for cos, sin in zip(angles.cos().tolist(), angles.sin().tolist(), strict=True):
                        value = getattr(field(x + radius * (cos * a + sin * b), t, cond), self.kind)
                        ahead = (value * (cos * b - sin * a)).flatten(1).double().sum(1)
                        total, squares = total + ahead, squares + value.flatten(1).double().square().sum(1)
                    step = 2 * math.pi * radius / self.points
                    circulations.append(step * total)
                    sizes.append((2 * math.pi * radius) ** 2 * squares / self.points)
        loops = torch.stack(circulations, 1)  # (B, planes * radii)
        found = finding_of_squares(loops.square().mean(1).to(x))
        size = float(torch.stack(sizes).mean().sqrt())
        by_radius = loops.unflatten(1, (-1, len(self.radii))).mT
        parts = {"circulation": by_radius.to(x), "radius": list(self.radii), "relative": found.value / (size or 1.0)}
        return Finding(found.value, found.error, found.per_sample, parts)


def _plane(x: Tensor, seed: int, plane: int, first: int) -> tuple[Tensor, Tensor]:
    """Two orthonormal directions per sample, each like x; the axes in two dimensions."""
    if x[0].numel() == 2:
        a = torch.tensor([1.0, 0.0], dtype=x.dtype, device=x.device).reshape(1, *x.shape[1:]).expand_as(x)
        return a, a.flatten(1).flip(1).reshape(x.shape)
    options = {"first": first, "device": x.device, "dtype": torch.float64}
    a, b = (normal((len(x), x[0].numel()), seed, stream=2 * plane + i, **options) for i in range(2))
    a = a / a.norm(dim=1, keepdim=True)
    b = b - (a * b).sum(1, keepdim=True) * a
    b = b / b.norm(dim=1, keepdim=True)
    return a.to(x).reshape(x.shape), b.to(x).reshape(x.shape)
