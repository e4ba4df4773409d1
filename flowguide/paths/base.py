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

whence every other kind, and the mean of every other combination :math:`a' z + b' \varepsilon`:

.. math:: \frac{(a' b - b' a)\, x_t + (b' \alpha_t - a' \sigma_t)\, p}{\alpha_t b - \sigma_t a}.

For v the determinant is :math:`\alpha^2 + \sigma^2` and for the velocity
:math:`-(\dot\alpha\sigma - \alpha\dot\sigma)`, which no path may let vanish (:class:`.Path`): these two give data and
noise at both ends. A noise prediction gives no data where :math:`\alpha_t = 0`, and a data prediction no noise where
:math:`\sigma_t = 0` (see :meth:`.Path.interval`).

A network may also put out what EDM's does. For data of standard deviation :math:`\sigma_d`, and with EDM's noise level
:math:`\tilde\sigma = \sigma_t / \alpha_t` at the unscaled state :math:`x / \alpha_t`, its denoiser is

.. math::
    \hat z = c_{skip} \frac{x}{\alpha_t} + c_{out}\, F\!\left( c_{in} \frac{x}{\alpha_t} \right), \qquad
    c_{skip} = \frac{\sigma_d^2}{\tilde\sigma^2 + \sigma_d^2}, \quad
    c_{out} = \frac{\tilde\sigma \sigma_d}{\sqrt{\tilde\sigma^2 + \sigma_d^2}}, \quad
    c_{in} = \frac{1}{\sqrt{\tilde\sigma^2 + \sigma_d^2}}.

With :math:`R = \sqrt{\alpha_t^2 \sigma_d^2 + \sigma_t^2}`, the deviation of the states, this is on any path

.. math:: \hat z = \frac{\sigma_d^2 \alpha_t}{R^2}\, x + \frac{\sigma_t \sigma_d}{R}\, F(x / R), \qquad
    F = E\!\left[ \frac{\sigma_t}{\sigma_d R}\, z - \frac{\alpha_t \sigma_d}{R}\, \varepsilon \,\middle|\, x_t \right],

one more combination of data and noise, called ``edm``: minus the v of data scaled to unit variance. Its determinant
:math:`-R / \sigma_d` never vanishes.

Source: Karras et al. (2022), arXiv 2206.00364, Eq. 7 and table 1.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ..devices import sent
from .coefficients import Coefficients, Numbers, Scale, per_sample

Kind = Literal["velocity", "score", "noise", "data", "v"]
KINDS: tuple[str, ...] = get_args(Kind)
Output = Literal[Kind, "edm"]  # what a network may put out: a kind, or EDM's combination, which needs a number more
OUTPUTS: tuple[str, ...] = get_args(Output)
_KINDS = frozenset(KINDS)


class Prediction:
    """Posterior means at (x, t), in whichever kinds they are known and, on demand, in all others.

    One network evaluation serves ODE drift and score alike, and the kind that the network predicts costs nothing.

    Args:
        coefficients: The path's, at t.
        x: The state, shape (B, *).
        row: (p, a, b) where the posterior mean of ``a z + b eps`` is p, of shape (B, *), if that is none of the kinds;
            a and b must tell data from noise at every time, as velocity and v do.
        **known: Kinds that are known, each of shape (B, *). An exact field knows several and passes them all, so that
            none has to be recovered by a division.
    """

    def __init__(
        self, coefficients: Coefficients, x: Tensor, *, row: tuple[Tensor, Scale, Scale] | None = None, **known: Tensor
    ) -> None:
        if not (known or row) or not known.keys() <= _KINDS:
            raise ValueError(f"a prediction is made of one or more of {', '.join(KINDS)}, not of {sorted(known)}")
        self.coefficients = coefficients
        self.x = x
        self._row = row
        self._known = known

    @classmethod
    def from_edm(cls, coefficients: Coefficients, x: Tensor, output: Tensor, sigma_data: float) -> "Prediction":
        """What the output F(x / R) of a network with EDM's preconditioning says about every kind.

        Args:
            coefficients: The path's, at t; R is their ``spread(sigma_data)``.
            x: The state, shape (B, *).
            output: F, shape (B, *).
            sigma_data: The standard deviation of the data that the preconditioning assumes, > 0.
        """
        c, spread = coefficients, coefficients.spread(sigma_data)
        return cls(c, x, row=(output, c.sigma / (sigma_data * spread), -c.alpha * sigma_data / spread))

    def mean_of(self, a: Scale, b: Scale, numbers: Numbers | None = None) -> Tensor:
        """The posterior mean of ``a z + b eps``, shape (B, *), for any two scales.

        Args:
            a, b: Numbers, or tensors that broadcast against x.
            numbers: The coefficients at t, if the caller has them as numbers: what can be computed from them alone is
                then no work for the device. A result may be the tensor that was predicted, and is not to be written to.
        """
        c = self.coefficients if numbers is None else numbers
        for kind, of_kind in (("data", (1.0, 0.0)), ("noise", (0.0, 1.0))):
            if kind in self._known and isinstance(a, float) and (a, b) == of_kind:
                return self._known[kind]
        if not (row := self._invertible_row(c)):
            return a * self.data + b * self.noise
        p, a0, b0 = row
        determinant = c.alpha * b0 - c.sigma * a0
        of_x, of_p = (a * b0 - b * a0) / determinant, (b * c.alpha - a * c.sigma) / determinant
        if isinstance(of_x, float) and of_x == 0:
            return p if of_p == 1 else of_p * p
        return of_x * self.x + of_p * p

    @property
    def velocity(self) -> Tensor:
        """:math:`u = \\dot\\alpha \\hat z + \\dot\\sigma \\hat\\varepsilon`, shape (B, *), data units per unit time."""
        if "velocity" not in self._known:
            c = self.coefficients
            self._known["velocity"] = self.mean_of(c.alpha_dot, c.sigma_dot)
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
            c, known = self.coefficients, self._known
            if "score" in known:
                known["noise"] = -c.sigma * known["score"]
            elif self._invertible_row(c):
                known["noise"] = self.mean_of(0.0, 1.0)
            else:
                known["noise"] = (self.x - c.alpha * known["data"]) / c.sigma
        return self._known["noise"]

    @property
    def data(self) -> Tensor:
        """:math:`\\hat z = E[z \\mid x_t = x]`, shape (B, *)."""
        if "data" not in self._known:
            c = self.coefficients
            if self._invertible_row(c):
                self._known["data"] = self.mean_of(1.0, 0.0)
            else:
                self._known["data"] = (self.x - c.sigma * self.noise) / c.alpha
        return self._known["data"]

    @property
    def v(self) -> Tensor:
        """:math:`v = \\alpha \\hat\\varepsilon - \\sigma \\hat z`, shape (B, *).

        Source: Salimans & Ho (2022), arXiv 2202.00512, appendix D.
        """
        if "v" not in self._known:
            c = self.coefficients
            self._known["v"] = self.mean_of(-c.sigma, c.alpha)
        return self._known["v"]

    def _invertible_row(self, c: Coefficients | Numbers) -> tuple[Tensor, Scale, Scale] | None:
        """A known combination that determines data and noise at every time: (p, a, b); None if there is none."""
        known = self._known
        if "velocity" in known:
            return known["velocity"], c.alpha_dot, c.sigma_dot
        if "v" in known:
            return known["v"], -c.sigma, c.alpha
        return self._row

    def stated(self) -> dict[str, Any]:
        """The tensors that it is made of, those derived since among them: ``Prediction(c, x, **p.stated())`` is p.

        For transforms of functions (``torch.func``), which take tensors in and give tensors out.
        """
        return {**self._known, **({"row": self._row} if self._row else {})}

    def lerp(self, other: "Prediction", w: Tensor | float) -> "Prediction":
        """The mix ``(1 - w) self + w other``, exactly ``other`` at w = 1.

        Weights that sum to one commute with every conversion, so the mix is made in the kinds that both know, and
        in the velocity, which is finite at both ends, where they know none in common.

        Args:
            other: A prediction at the same (x, t).
            w: A number, or one per sample, shape (B,).
        """
        w = per_sample(w, self.x.ndim)
        w = sent(w, self.x.device, self.x.dtype) if isinstance(w, Tensor) else w
        return self._each(lambda mine, theirs: torch.lerp(mine, theirs, w), other)

    def mix(self, others: Sequence["Prediction"], weights: Sequence[Tensor | float]) -> "Prediction":
        """``self + sum_i w_i (other_i - self)``: :meth:`lerp` towards several predictions at the same (x, t).

        Args:
            others: Predictions at the same (x, t).
            weights: One for each of them: a number, or one per sample, shape (B,).
        """
        weights = [per_sample(w, self.x.ndim) for w in weights]
        return self._each(
            lambda mine, *theirs: mine + sum(w * (their - mine) for w, their in zip(weights, theirs, strict=True)),
            *others,
        )

    def where(self, mask: Tensor, other: "Prediction") -> "Prediction":
        """``self`` for the samples in ``mask``, shape (B,), and ``other``, at the same (x, t), for the rest."""
        rows = per_sample(mask, self.x.ndim)
        return self._each(lambda mine, theirs: torch.where(rows, mine, theirs), other)

    def chunk(self, count: int) -> list["Prediction"]:
        """The parts of a batch that was put together from ``count`` batches of one size, in order."""

        def parts(value: Scale) -> Sequence[Scale]:
            return value.chunk(count) if isinstance(value, Tensor) and value.ndim else [value] * count

        c = self.coefficients
        rows = list(zip(*map(parts, self._row), strict=True)) if self._row else [None] * count
        shared = c.t.ndim == 0  # what has been computed at one time for all is not computed again
        return [
            Prediction(
                c if shared else Coefficients(c.path, parts(c.t)[i], self.x.ndim),
                parts(self.x)[i],
                row=rows[i],
                **{kind: parts(value)[i] for kind, value in self._known.items()},
            )
            for i in range(count)
        ]

    def tilted(self, gradient: Tensor) -> "Prediction":
        """The prediction of the same law times some h(x), from g, the gradient of log h(x) divided by alpha.

        .. math:: s \\to s + \\alpha g, \\qquad \\hat z \\to \\hat z + \\sigma^2 g, \\qquad
            \\hat\\varepsilon \\to \\hat\\varepsilon - \\alpha \\sigma g,

        since the state stays: alpha times the change of the data and sigma times that of the noise sum to zero. Hence
        the mean of ``a z + b eps`` changes by :math:`\\sigma (a \\sigma - b \\alpha) g`, and the velocity by
        :math:`\\sigma (\\dot\\alpha\\sigma - \\alpha\\dot\\sigma) g`, all finite at both ends of a path. The undivided
        gradient could not tell as much: it is zero where alpha = 0, if h is the probability of what follows from z.

        Args:
            gradient: g, shape (B, *).
        """
        c = self.coefficients

        def change(a: Scale, b: Scale) -> Tensor:
            return c.sigma * (a * c.sigma - b * c.alpha) * gradient

        rows = {
            "data": lambda: change(1.0, 0.0),
            "noise": lambda: change(0.0, 1.0),
            "velocity": lambda: change(c.alpha_dot, c.sigma_dot),
            "v": lambda: change(-c.sigma, c.alpha),
            "score": lambda: c.alpha * gradient,
        }
        tilted = {kind: value + rows[kind]() for kind, value in self._known.items()}
        row = self._row and (self._row[0] + change(*self._row[1:]), *self._row[1:])
        return Prediction(c, self.x, row=row, **tilted)

    def _each(self, function: Callable[..., Tensor], *others: "Prediction") -> "Prediction":
        """A function of several predictions, applied to each kind that all know; to the velocity if there is none."""
        kinds = set(self._known).intersection(*(other._known for other in others)) or {"velocity"}
        return Prediction(
            self.coefficients,
            self.x,
            **{kind: function(getattr(self, kind), *(getattr(other, kind) for other in others)) for kind in kinds},
        )
