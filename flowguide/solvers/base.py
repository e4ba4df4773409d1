r"""What every solver has in common: it carries noise along a field to data.

An ODE solver integrates :math:`\dot x = u(x, t, y)`, the velocity of any Field, over the times of a grid.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ..fields import Field
from ..registry import Registry
from .grids import Grid, grids

solvers = Registry("solver")


class Solver(ABC):
    """Integrates a field from noise to data.

    Args:
        steps: Number of steps, at least 1.
        grid: Where they are: the name of a grid, or its name and options, ``{"name": ..., ...}``.
        t_start, t_end: First and last time; None for the ends of the field's interval.

    Attributes:
        order: Order of convergence.
        strong_order: Strong order for SDEs; None if the solver is for ODEs only.
    """

    order: int
    strong_order: float | None = None

    def __init__(
        self,
        steps: int = 20,
        grid: str | Mapping[str, Any] = "uniform",
        t_start: float | None = None,
        t_end: float | None = None,
    ) -> None:
        if steps < 1:
            raise ValueError(f"a solver needs at least 1 step, not {steps}")
        self.steps = steps
        self.grid: Grid = grids.build(grid) if isinstance(grid, str) else grids.build_from(grid)
        self.t_start = t_start
        self.t_end = t_end

    @property
    @abstractmethod
    def evaluations(self) -> int | None:
        """Field evaluations of one run; for adaptive solvers, of the last run, None before it."""

    @abstractmethod
    def states(self, field: Field, x: Tensor, cond: Tensor | None, times: Tensor) -> Iterator[Tensor]:
        """The state at ``times[1]``, ``times[2]``, ...

        ``x`` is the state at ``times[0]`` and is not written to. Where no gradients are recorded, a state that was
        given out may be overwritten by the next: whoever keeps it, copies it.
        """

    def times(self, field: Field) -> Tensor:
        """The times of the grid for this field, float64, shape (steps + 1,)."""
        start = field.t_min if self.t_start is None else self.t_start
        end = field.t_max if self.t_end is None else self.t_end
        if not field.t_min <= start < end <= field.t_max:
            raise ValueError(
                f"a solver goes from t_start to t_end inside [{field.t_min:g}, {field.t_max:g}], where this field is "
                f"defined, with t_start < t_end; got {start:g} to {end:g}"
            )
        return self.grid(field.path, start, end, self.steps)

    def solve(self, field: Field, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """Carry ``x`` to the last time.

        Args:
            field: Any field.
            x: States at the first time, shape (B, *).
            cond: Conditions, one per sample, or None.
        Returns:
            States at the last time, shape (B, *).
        Raises:
            ValueError: if cond does not fit, or the field returns a number that is not finite.
        """
        times = self._check(field, x, cond)
        (state,) = deque(self.states(field, x, cond, times), maxlen=1)
        # One look at the end. Only a failed run is run again, to find the step: looking at every step would make a
        # GPU wait for each.
        if not state.isfinite().all():
            self._locate(self.states(field, x, cond, times), times)
        return state

    def trajectory(self, field: Field, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """All states on the way, shape (steps + 1, B, *), the first being ``x``; otherwise as :meth:`solve`."""
        times = self._check(field, x, cond)
        states = torch.stack([x, *(state.clone() for state in self.states(field, x, cond, times))])
        if not states[-1].isfinite().all():
            self._locate(iter(states[1:]), times)
        return states

    def _check(self, field: Field, x: Tensor, cond: Tensor | None) -> Tensor:
        if not x.is_floating_point() or x.ndim < 2 or len(x) < 1:
            raise ValueError(
                f"states are floating-point tensors of shape (B, *), not {x.dtype} of shape {tuple(x.shape)}"
            )
        field.check_condition(cond, len(x))
        return self.times(field)

    def _locate(self, states: Iterator[Tensor], times: Tensor) -> None:
        for step, state in enumerate(states):
            if not state.isfinite().all():
                raise ValueError(
                    f"the state became infinite or NaN in step {step + 1} of {self.steps}, from t = "
                    f"{times[step]:.4g} to {times[step + 1]:.4g}; look at the field there, or take more steps"
                )
