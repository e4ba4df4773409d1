r"""Adams methods: the integral of the polynomial through the last slopes, in the clock of the coordinates.

Adams-Bashforth predicts from k past slopes; Adams-Moulton, with the slope at the end of the step among them, corrects.
In PEC mode (predict, evaluate, correct) the evaluation that the next step needs is the one that corrects, so that a
step costs one evaluation, as Euler's.

In straight coordinates every path is the linear one, whose slope is bounded and smooth from the first time to the last:
there high orders pay from about ten steps on. Higher orders need more steps: with few, the polynomial overshoots.

Source: Hairer, Norsett & Wanner (1993), Solving Ordinary Differential Equations I, chapters III.1 and III.5.
"""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..paths import Path
from . import coordinates as systems
from .base import solvers
from .multistep import Multistep, order_in_pec
from .runge_kutta import RK3


class Adams(Multistep):
    """What they share: coordinates of choice, polynomials in their clock."""

    def __init__(
        self,
        steps: int = 20,
        grid: str | Mapping[str, Any] = "uniform",
        t_start: float | None = None,
        t_end: float | None = None,
        coordinates: str = "path",
    ) -> None:
        super().__init__(steps, grid, t_start, t_end)
        self.coordinates = systems.registry.build(coordinates)

    def variable(self, path: Path, times: Tensor) -> Tensor:
        clock = super().variable(path, times)
        if not clock.isfinite().all():
            raise ValueError(
                f"the clock of these coordinates is infinite at t = {times[~clock.isfinite()][0]:g} on {path!r}: "
                f"choose the straight ones, or t_start and t_end inside"
            )
        return clock


@solvers.register("ab2")
class AB2(Adams):
    """Adams-Bashforth, order 2, one evaluation per step."""

    order = predictor = 2


@solvers.register("ab3")
class AB3(Adams):
    """Adams-Bashforth, order 3, one evaluation per step; one more to start."""

    order = predictor = 3


@solvers.register("ab4")
class AB4(Adams):
    """Adams-Bashforth, order 4, one evaluation per step; four more to start."""

    order = predictor = 4
    starter = RK3


@solvers.register("pec")
class PEC(Adams):
    """Adams-Bashforth predictor and Adams-Moulton corrector in straight coordinates, one evaluation per step.

    Args:
        predictor: Past slopes that predict, 1 to 5: more for more steps. 2.3 is 3 in the first 30 % of the steps and
            then 2, since near the data fields change fastest.
        corrector: Past slopes that correct, beside the new one, 1 to 6; None for one more than predict in the end.
        steps, grid, t_start, t_end: As for every solver.
        coordinates: Name of the coordinates.

    The order of convergence is 2 where one slope predicts or corrects and 3 else: the first step has no history. At the
    step counts in use its share of the error is small, and the error falls like that of the orders predictor + 1.
    """

    def __init__(
        self,
        predictor: float = 2,
        corrector: int | None = None,
        steps: int = 20,
        grid: str | Mapping[str, Any] = "uniform",
        t_start: float | None = None,
        t_end: float | None = None,
        coordinates: str = "straight",
    ) -> None:
        super().__init__(steps, grid, t_start, t_end, coordinates)
        corrector = math.floor(predictor) + 1 if corrector is None else corrector
        if not (1 <= predictor <= 5 and 1 <= corrector <= 6):
            raise ValueError(f"pec needs predictor in [1, 5] and corrector in [1, 6], not {predictor} and {corrector}")
        self.predictor = predictor
        self.corrector = corrector
        self.order = order_in_pec(predictor, corrector)
