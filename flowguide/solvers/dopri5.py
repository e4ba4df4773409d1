"""The adaptive Dormand-Prince method, through torchdiffeq."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ..fields import Field
from .base import Solver, solvers


@solvers.register("dopri5")
class Dopri5(Solver):
    """Dormand-Prince 5(4) with adaptive steps, through torchdiffeq: for references and for the curious.

    One step length serves the whole batch, so that a sample depends on its batch, within the tolerances.

    Args:
        steps: Number of intervals between the states of a trajectory; the steps of the method are its own.
        rtol, atol: Relative and absolute tolerance of a step.
        max_evaluations: Evaluations after which it gives up.
        grid, t_start, t_end: As for every solver.
    Source: Dormand & Prince (1980).
    """

    order = 5

    def __init__(
        self,
        steps: int = 1,
        rtol: float = 1e-5,
        atol: float = 1e-5,
        max_evaluations: int = 100_000,
        grid: str | Mapping[str, Any] = "uniform",
        t_start: float | None = None,
        t_end: float | None = None,
    ) -> None:
        super().__init__(steps, grid, t_start, t_end)
        if not (rtol > 0 and atol > 0):
            raise ValueError(f"tolerances must be positive, not rtol={rtol}, atol={atol}")
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
        # Without step_t the method would step past the last time and interpolate back.
        options = {"step_t": times[[0, -1]], "dtype": torch.float64}
        try:
            yield from odeint(velocity, x, times, rtol=self.rtol, atol=self.atol, method="dopri5", options=options)[1:]
        except AssertionError as error:
            raise ValueError(
                f"dopri5 could not reach rtol={self.rtol:g}, atol={self.atol:g} ({error}): loosen them, use float64, "
                f"or look for a field that is not smooth or not finite"
            ) from None
