r"""Probability paths, and the one place where kinds of prediction are turned into one another.

A Gaussian probability path carries noise to data,

.. math:: x_t = \alpha_t\, z + \sigma_t\, \varepsilon, \qquad t = 0 \text{ noise}, \quad t = 1 \text{ data}.

Every kind of prediction is the posterior mean of one linear combination :math:`a z + b \varepsilon`:

==========  ==========================  ==========================
kind        a                           b
==========  ==========================  ==========================
data        1                           0
noise       0                           1
velocity    :math:`\dot\alpha_t`        :math:`\dot\sigma_t`
v           :math:`-\sigma_t`           :math:`\alpha_t`
==========  ==========================  ==========================

and the score is the noise divided by :math:`-\sigma_t`. Together with :math:`x_t` a prediction :math:`p` thus gives
two linear equations for the posterior means :math:`\hat z, \hat\varepsilon` of data and noise,

.. math::
    \begin{pmatrix} \alpha_t & \sigma_t \\ a & b \end{pmatrix}
    \begin{pmatrix} \hat z \\ \hat\varepsilon \end{pmatrix} =
    \begin{pmatrix} x_t \\ p \end{pmatrix}
    \;\Rightarrow\;
    \hat z = \frac{b\, x_t - \sigma_t\, p}{\alpha_t b - \sigma_t a}, \qquad
    \hat\varepsilon = \frac{\alpha_t\, p - a\, x_t}{\alpha_t b - \sigma_t a},

whence every other kind. For v the determinant is :math:`\alpha^2 + \sigma^2` and for the velocity
:math:`-(\dot\alpha\sigma - \alpha\dot\sigma)`, which no path lets vanish: these two give data and noise at both ends. A
noise prediction gives no data where :math:`\alpha_t = 0`, and a data prediction no noise where :math:`\sigma_t = 0`
(see :meth:`.Path.interval`).
"""

from functools import cached_property
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .path import Path

Kind = Literal["velocity", "score", "noise", "data", "v"]
KINDS: tuple[str, ...] = get_args(Kind)
_KINDS = frozenset(KINDS)


class Coefficients:
    """alpha, sigma and their derivatives at one time, each computed when it is first asked for.

    Args:
        path: The path.
        t: Shape () or (B,).
        ndim: Dimensions of the states that they will multiply: a ``t`` of shape (B,) gives (B, 1, ..., 1).
    """

    def __init__(self, path: "Path", t: Tensor, ndim: int) -> None:
        self.path = path
        self.t = t if t.ndim == 0 else t.reshape(-1, *[1] * (ndim - 1))

    @cached_property
    def alpha(self) -> Tensor:
        return self.path.alpha(self.t)

    @cached_property
    def sigma(self) -> Tensor:
        return self.path.sigma(self.t)

    @cached_property
    def alpha_dot(self) -> Tensor:
        return self.path.alpha_dot(self.t)

    @cached_property
    def sigma_dot(self) -> Tensor:
        return self.path.sigma_dot(self.t)


class Prediction:
    """Posterior means at (x, t), in whichever kinds they are known and, on demand, in all others.

    One network evaluation serves ODE drift and score alike, and the kind that the network predicts costs nothing.

    Args:
        coefficients: The path's, at t.
        x: The state, shape (B, *).
        **known: At least one kind, each of shape (B, *). An exact field knows several and passes them all, so that
            none has to be recovered by a division.
    """

    def __init__(self, coefficients: Coefficients, x: Tensor, **known: Tensor) -> None:
        if not known or not known.keys() <= _KINDS:
            raise ValueError(f"a prediction is made of one or more of {', '.join(KINDS)}, not of {sorted(known)}")
        self.coefficients = coefficients
        self.x = x
        self._known = known

    @property
    def velocity(self) -> Tensor:
        """:math:`u = \\dot\\alpha \\hat z + \\dot\\sigma \\hat\\varepsilon`, shape (B, *), data units per unit time."""
        if "velocity" not in self._known:
            c = self.coefficients
            self._known["velocity"] = c.alpha_dot * self.data + c.sigma_dot * self.noise
        return self._known["velocity"]

    @property
    def score(self) -> Tensor:
        """:math:`s = \\nabla_x \\log p_t(x) = -\\hat\\varepsilon / \\sigma`, shape (B, *)."""
        if "score" not in self._known:
            self._known["score"] = -self.noise / self.coefficients.sigma
        return self._known["score"]

    @property
    def noise(self) -> Tensor:
        """:math:`\\hat\\varepsilon = E[\\varepsilon \\mid x_t = x]`, shape (B, *)."""
        if "noise" not in self._known:
            self._known["noise"] = self._solve_for_noise()
        return self._known["noise"]

    @property
    def data(self) -> Tensor:
        """:math:`\\hat z = E[z \\mid x_t = x]`, shape (B, *)."""
        if "data" not in self._known:
            self._known["data"] = self._solve_for_data()
        return self._known["data"]

    @property
    def v(self) -> Tensor:
        """:math:`v = \\alpha \\hat\\varepsilon - \\sigma \\hat z`, shape (B, *).

        Source: Salimans & Ho (2022), arXiv 2202.00512, appendix D.
        """
        if "v" not in self._known:
            c = self.coefficients
            self._known["v"] = c.alpha * self.noise - c.sigma * self.data
        return self._known["v"]

    def _solve_for_noise(self) -> Tensor:
        c, x, known = self.coefficients, self.x, self._known
        if "score" in known:
            return -c.sigma * known["score"]
        if row := self._row():
            p, a, b = row
            return (c.alpha * p - a * x) / (c.alpha * b - c.sigma * a)
        return (x - c.alpha * known["data"]) / c.sigma

    def _solve_for_data(self) -> Tensor:
        c, x = self.coefficients, self.x
        if row := self._row():
            p, a, b = row
            return (b * x - c.sigma * p) / (c.alpha * b - c.sigma * a)
        return (x - c.sigma * self.noise) / c.alpha

    def _row(self) -> tuple[Tensor, Tensor, Tensor] | None:
        """A known kind that determines data and noise at every time, with its a and b; None if there is none."""
        c, known = self.coefficients, self._known
        if "velocity" in known:
            return known["velocity"], c.alpha_dot, c.sigma_dot
        if "v" in known:
            return known["v"], -c.sigma, c.alpha
        return None

    def lerp(self, other: "Prediction", w: Tensor | float) -> "Prediction":
        """The mix ``(1 - w) self + w other``, exactly ``other`` at w = 1.

        Weights that sum to one commute with every conversion, so the mix is made in the kinds that both know, and
        in the velocity, which is finite at both ends, where they know none in common.

        Args:
            other: A prediction at the same (x, t).
            w: A number, or one per sample, shape (B,).
        """
        kinds = self._known.keys() & other._known.keys() or {"velocity"}
        if isinstance(w, Tensor) and w.ndim:
            w = w.reshape(-1, *[1] * (self.x.ndim - 1))
        mixed = {kind: torch.lerp(getattr(self, kind), getattr(other, kind), w) for kind in kinds}
        return Prediction(self.coefficients, self.x, **mixed)
