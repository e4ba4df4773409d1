"""Every method of torchdiffeq, adaptive or not."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ..fields import Field
from .base import Solver, solvers

Method = Literal[
    "dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun",
    "euler", "midpoint", "heun2", "heun3", "rk4", "explicit_adams", "implicit_adams",
]  # fmt: skip
ADAPTIVE = get_args(Method)[:5]
_ORDERS = {
    "dopri5": 5, "dopri8": 8, "bosh3": 3, "fehlberg2": 2, "adaptive_heun": 2,
    "euler": 1, "midpoint": 2, "heun2": 2, "heun3": 3, "rk4": 4, "explicit_adams": 4, "implicit_adams": 4,
}  # fmt: skip
_SLOPES = {"explicit_adams": 5, "implicit_adams": 4}  # what torchdiffeq calls max_order, for order 4


@solvers.register("torchdiffeq")
class TorchDiffEq(Solver):
    """A method of torchdiffeq; by default Dormand-Prince 5(4) with adaptive steps.

    An adaptive method takes one step length for the whole batch, so that a sample depends on its batch, within the
    tolerances, and the number of evaluations is known after the run.

    Args:
        method: Adaptive: dopri5, dopri8, bosh3, fehlberg2, adaptive_heun. With the steps of the grid: euler, midpoint,
            heun2, heun3, rk4 (the 3/8 rule), explicit_adams and implicit_adams (of order 4).
        rtol, atol: Relative and absolute tolerance of a step of an adaptive method.
        max_evaluations: Evaluations after which it gives up.
        steps: Number of steps; for an adaptive method, of intervals between the states of a trajectory.
        grid, t_start, t_end: As for every solver.
    Source: Chen (2018), torchdiffeq; Dormand & Prince (1980).
    """

    order = 5
    remembers = True  # its own step length

    def __init__(
        self,
        method: Method = "dopri5",
        rtol: float = 1e-5,
        atol: float = 1e-5,
        max_evaluations: int = 100_000,
        steps: int = 20,
        grid: str | Mapping[str, Any] = "uniform",
        t_start: float | None = None,
        t_end: float | None = None,
    ) -> None:
        super().__init__(steps, grid, t_start, t_end)
        if not (rtol > 0 and atol > 0):
            raise ValueError(f"tolerances must be positive, not rtol={rtol}, atol={atol}")
        self.method = method
        self.order = _ORDERS[method]
        self.rtol = rtol
        self.atol = atol
        self.max_evaluations = max_evaluations
        self._evaluations: int | None = None

    @property
    def evaluations(self) -> int | None:
        return self._evaluations

    def states(self, field: Field, x: Tensor, cond: Tensor | None, times: Tensor) -> Iterator[Tensor]:
        from torchdiffeq import odeint

        self._evaluations = 0

        def velocity(t: Tensor, state: Tensor) -> Tensor:
            if self._evaluations >= self.max_evaluations:
                raise AssertionError(f"no end after {self._evaluations} evaluations, at t = {float(t):.4g}")
            self._evaluations += 1
            return field(state, t.to(x), cond).velocity

        times = times.to(x.device)
        options: dict[str, Any] = {"max_order": _SLOPES[self.method]} if self.method in _SLOPES else {}
        if self.method in ADAPTIVE:
            # Without step_t it would step past the last time and interpolate back.
            options = {"step_t": times[[0, -1]], "dtype": torch.float64}
        tolerances = {"rtol": self.rtol, "atol": self.atol}
        try:
            yield from odeint(velocity, x, times, method=self.method, options=options, **tolerances)[1:].to(x)
        except AssertionError as error:
            raise ValueError(
                f"{self.method} could not reach rtol={self.rtol:g}, atol={self.atol:g} ({error}): loosen them, use "
                f"float64, or look for a field that is not smooth or not finite"
            ) from None
