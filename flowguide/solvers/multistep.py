r"""Linear multistep methods in any coordinates: one evaluation per step, the order from the history.

With state y = x / r, clock c and slope f (:mod:`.coordinates`) a step integrates the polynomial through the last k
slopes,

.. math:: x_{n+1} = \frac{r_{n+1}}{r_n} x_n + A_n \sum_{j=0}^{k-1} w_j f_{n-j}, \qquad
    A_n = r_{n+1} (c_{n+1} - c_n), \quad w_j = \frac{1}{c_{n+1} - c_n} \int_{t_n}^{t_{n+1}} \ell_j \, dc,

where :math:`\ell_j` is the polynomial that is 1 at node j and 0 at the others, in the clock itself (Adams-Bashforth) or
in another function of time (DPM-Solver++ is this in data coordinates, with polynomials in log-SNR).

A corrector takes each step a second time when the field has been evaluated at its end, as the next step needs anyway:
with that slope among the nodes (Adams-Moulton). The next step sets out from the corrected state. This "PEC" mode costs
no evaluation and gains an order.

Source: Hairer, Norsett & Wanner (1993), Solving Ordinary Differential Equations I, chapter III.1.
"""

import math
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..devices import sent
from ..fields import Field
from ..paths import Numbers, Path
from .base import Solver
from .coordinates import Coordinates
from .runge_kutta import Euler, Heun, RungeKutta, advance, take
from .runge_kutta import Step as RungeKuttaStep
from .wiener import Wiener

_ROOTS, _GAUSS = (torch.tensor(values) for values in np.polynomial.legendre.leggauss(32))


class Step(NamedTuple):
    """What a step does, in numbers: ``ratio * x + std * noise + sum(weights * slopes)``.

    Attributes:
        numbers: Coefficients of the path at its beginning.
        ratio: Of the scales after and before.
        std: Of the noise that is added.
        predictor: Weights of the past slopes, the newest first.
        corrector: Weights of the slope at the end of the step and then the past ones; empty for no corrector.
    """

    numbers: Numbers
    ratio: float
    std: float
    predictor: list[float]
    corrector: list[float]


def order_in_pec(predictor: float, corrector: int) -> int:
    """The order of convergence of a method that starts by itself and corrects: 3 at most, for its first step."""
    return min(math.floor(predictor) + 1, corrector + 1, 3)


def near(lengths: list[float], step: int, most: int, reach: float) -> int:
    """How many slopes, ``most`` or fewer, serve a step: it is at most ``reach`` times as long as any between them."""
    count = min(most, 1)
    while count < most and lengths[step] <= reach * lengths[step - count]:
        count += 1
    return count


class Multistep(Solver):
    """A linear multistep method; a subclass says in which coordinates, of which orders, with which polynomials.

    Attributes:
        coordinates: What it works in.
        predictor: Number of past slopes that the predictor uses, k; 2.3 is 3 in the first 30 % of the steps, then 2.
        corrector: Number of past slopes that the corrector uses, beside the new one; 0 for no corrector.
        starter: Runge-Kutta method of the first k - 2 steps. The step after them has order k - 1, and so the local
            error of the method as a whole. A method with a corrector, or with noise, starts by itself.
        reach: How many times as long as the steps between its slopes a step may be; fewer slopes serve a longer one, as
            a polynomial says nothing of what lies much farther off than its nodes lie apart.
    """

    coordinates: Coordinates
    predictor: float
    corrector: int = 0
    starter: type[RungeKutta] = Heun
    reach: float = math.inf
    _plan: tuple[Tensor, Path, list[Step]] | None = None

    def variable(self, path: Path, times: Tensor) -> Tensor:
        """That of the polynomials at ``times``; where it is infinite, a slope serves for order 1 only."""
        return self.coordinates.clock(path, times)

    def density(self, path: Path, variable: Tensor) -> Tensor:
        """Derivative of the clock by the variable, up to a factor, same shape."""
        return torch.ones_like(variable)

    def ratios(self, path: Path, times: Tensor) -> Tensor:
        """r after over r before, for each step."""
        scale = self.coordinates.scale(path, times)
        return scale[1:] / scale[:-1]

    def totals(self, path: Path, times: Tensor) -> Tensor:
        """A, the sum of the weights, for each step."""
        return self.coordinates.scale(path, times[1:]) * self.coordinates.clock(path, times).diff()

    def stds(self, path: Path, times: Tensor) -> Tensor:
        """Standard deviation of the noise, for each step."""
        return torch.zeros_like(times[1:])

    def shares(self, path: Path, nodes: Tensor, begin: Tensor, end: Tensor) -> Tensor:
        """w, whose sum is 1, for steps from ``begin`` to ``end``, shape (steps,), and ``nodes``, shape (steps, k).

        All are values of :meth:`variable`. Gauss-Legendre quadrature in 32 points: exact for polynomials, and to
        rounding for the exponentials of reasonable steps.
        """
        middle, half = (begin + end)[:, None] / 2, (end - begin)[:, None] / 2
        at = middle + half * _ROOTS
        measure = _GAUSS * self.density(path, at)
        shares = []
        for j in range(nodes.shape[1]):
            polynomial = torch.ones_like(at)
            for i in range(nodes.shape[1]):
                if i != j:
                    polynomial = polynomial * ((at - nodes[:, [i]]) / (nodes[:, [j]] - nodes[:, [i]]))
            shares.append((measure * polynomial).sum(1) / measure.sum(1))
        return torch.stack(shares, 1)

    @property
    def remembers(self) -> bool:
        return self.predictor > 1 or self.corrector > 0  # a correction is made at the next step's evaluation

    @property
    def evaluations(self) -> int:
        return self.steps + self._starts * (len(self.starter.b) - 1)

    @property
    def _starts(self) -> int:
        alone = self.corrector or self.stochastic
        return 0 if alone else min(max(math.ceil(self.predictor) - 2, 0), self.steps)

    def plan(self, path: Path, times: Tensor) -> list[Step]:
        """All steps in numbers; those of the last run if they are the same."""
        if self._plan is None or self._plan[0] is not times or self._plan[1] != path:
            self._plan = (times, path, self._new_plan(path, times))
        return self._plan[2]

    def _new_plan(self, path: Path, times: Tensor) -> list[Step]:
        variable, totals, steps = self.variable(path, times), self.totals(path, times), len(times) - 1
        more = round(self.predictor % 1 * steps)  # steps with a slope more
        past = [math.floor(self.predictor) + (n < more) for n in range(steps)]
        predictors = self._weights(path, variable, totals, past, 0)
        correctors = self._weights(path, variable, totals[:-1], [self.corrector] * (steps - 1), 1)
        columns = path.numbers(times[:-1]), self.ratios(path, times).tolist(), self.stds(path, times).tolist()
        return list(map(Step, *columns, predictors, [*correctors, []]))

    def _weights(self, path: Path, variable: Tensor, totals: Tensor, past: list[int], new: int) -> list[list[float]]:
        """For each step the weights of ``new`` (0 or 1) slopes at its end and up to ``past`` before it."""
        finite = variable.isfinite()
        first = int(not finite[0])
        rows: list[list[float]] = [[] if new else [total] for total in totals.tolist()]  # all that infinity allows
        lengths = variable.diff().abs().tolist()
        counts = [min(k, n + 1 - first) if finite[n] and finite[n + 1] else 0 for n, k in enumerate(past)]
        counts = [near(lengths, n, count, self.reach) for n, count in enumerate(counts)]
        for count in range(1, max(counts, default=0) + 1):
            steps = torch.tensor([n for n, c in enumerate(counts) if c == count], dtype=torch.int64)
            if len(steps):
                nodes = variable[steps[:, None] + new - torch.arange(count + new)]
                weights = totals[steps, None] * self.shares(path, nodes, variable[steps], variable[steps + 1])
                for n, row in zip(steps.tolist(), weights.tolist(), strict=True):
                    rows[n] = row
        return rows

    def states(
        self, field: Field, x: Tensor, cond: Tensor | None, times: Tensor, noise: Wiener | None = None
    ) -> Iterator[Tensor]:
        plan, opening = self.plan(field.path, times), self._opening(field.path, times, x)
        history: deque[Tensor] = deque(maxlen=max(math.ceil(self.predictor), self.corrector))  # the newest first
        mine = not torch.is_grad_enabled()  # states may be overwritten, but for the caller's
        base = x = x.clone() if mine else x
        for n, (t, step) in enumerate(zip(sent(times, x.device, x.dtype), plan, strict=False)):
            prediction = field(x, t, cond)
            slope = self.coordinates.slope(prediction, step.numbers)
            slope = slope.clone() if slope is x else slope  # a field may return the very state
            if n and plan[n - 1].corrector:
                base = advance(base, 1.0, plan[n - 1].corrector, [slope, *history], mine)
                yield base
            history.appendleft(slope)
            if n < len(opening):
                base = x = take(opening[n], field, base, cond, opening[n].coordinates.slope(prediction, step.numbers))
                yield x
                continue
            base = advance(base, step.ratio, (), (), mine)
            if step.std:
                base = advance(base, 1.0, [step.std], [noise(n, base)], mine)
            if step.corrector:
                x = advance(base, 1.0, step.predictor, history)  # the base is needed once more
            else:
                base = x = advance(base, 1.0, step.predictor, history, mine)
                yield x

    def _opening(self, path: Path, times: Tensor, x: Tensor) -> list[RungeKuttaStep]:
        """The first steps, as Runge-Kutta steps."""
        starter, count = self.starter, self._starts
        if not count and not self.coordinates.clock(path, times[0]).isfinite():
            starter, count = Euler, 1  # in straight coordinates, since the clock starts at minus infinity
        return starter.plan(path, times[:count], times[1 : count + 1], self.coordinates, x)
