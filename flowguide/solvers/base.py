r"""What every solver has in common: it carries noise along a field to data.

An ODE solver integrates :math:`\dot x = u(x, t, y)`, the velocity of any Field, over the times of a grid. An SDE solver
integrates :math:`dX = [u + \tfrac12 g_t^2 s]\,dt + g_t\,dW` with the score s, which has the same marginals for any g.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ..fields import Field, Run
from ..registry import Registry
from .grids import Grid, grids
from .wiener import Wiener

solvers = Registry("solver")


class Solver(ABC):
    """Integrates a field from noise to data.

    Args:
        steps: Number of steps, at least 1.
        grid: Where they are: the name of a grid, or its name and options, ``{"name": ..., ...}``.
        t_start, t_end: First and last time; None for the ends of the field's interval.

    Attributes:
        order: Order of convergence.
        strong_order: Strong order for SDEs; None if the solver draws no noise.
        remembers: Whether a step builds on earlier ones, so that steps cannot be taken one by one.
        draws: How many numbered draws of noise a step of a stochastic solver makes.
    """

    order: int
    strong_order: float | None = None
    remembers: bool = False
    draws: int = 1

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
        self.grid: Grid = grids.choose(grid)
        self.t_start = t_start
        self.t_end = t_end
        self._times: tuple[object, Tensor] = (None, torch.empty(0))  # of the last run, which the next mostly shares

    @property
    @abstractmethod
    def evaluations(self) -> int | None:
        """Field evaluations of one run. Where they depend on the field, those of the last run; before it the most that
        there may be, or None if that is not known, as for adaptive solvers."""

    @property
    def stochastic(self) -> bool:
        """Whether it draws noise, and so needs a seed."""
        return self.strong_order is not None

    @property
    def identity(self) -> tuple:
        """What it is apart from where its steps are, hashable: the same for two of a class with equal options.

        Its attributes but private ones, as for paths.
        """
        where = {"grid", "t_start", "t_end"}
        own = {name: value for name, value in vars(self).items() if name not in where and not name.startswith("_")}
        return type(self), *((name, v if isinstance(v, Hashable) else repr(v)) for name, v in sorted(own.items()))

    @abstractmethod
    def states(self, field: Field, x: Tensor, cond: Tensor | None, times: Tensor) -> Iterator[Tensor]:
        """The state at ``times[1]``, ``times[2]``, ...

        ``x`` is the state at ``times[0]`` and is not written to. Where no gradients are recorded, a state that was
        given out may be overwritten by the next: whoever keeps it, copies it. A stochastic solver takes its noise, a
        :class:`.Wiener`, as the last argument.
        """

    def interval(self, field: Field) -> tuple[float, float]:
        """The times between which it can go: the field's, unless the solver needs more than the field has there."""
        return field.t_min, field.t_max

    def span(self, field: Field) -> tuple[float, float]:
        """The first and the last time for this field; ValueError unless they are inside its interval."""
        first, last = self.interval(field)
        start = first if self.t_start is None else self.t_start
        end = last if self.t_end is None else self.t_end
        if not first <= start < end <= last:
            raise ValueError(
                f"a solver goes from t_start to t_end inside [{first:g}, {last:g}], where this field is "
                f"defined, with t_start < t_end; got {start:g} to {end:g}"
            )
        return start, end

    def times(self, field: Field) -> Tensor:
        """The times of the grid for this field, float64, shape (steps + 1,)."""
        start, end = self.span(field)
        key = (self.grid, self.steps, field.path, start, end)
        if self._times[0] == key:
            return self._times[1]
        times = self.grid(field.path, start, end, self)
        if len(times) != self.steps + 1 or not (times.diff() > 0).all() or times[0] < start or times[-1] > end:
            shown = ", ".join(f"{t:.6g}" for t in times.tolist()[:20])
            raise ValueError(
                f"a grid must give {self.steps + 1} increasing times for {self.steps} steps, in [{start:g}, {end:g}]; "
                f"{type(self.grid).__name__} gave {len(times)}: {shown}"
            )
        self._times = (key, times)
        return times

    def solve(
        self, field: Field, x: Tensor, cond: Tensor | None = None, *, seed: int | None = None, first: int | Tensor = 0
    ) -> Tensor:
        """Carry ``x`` to the last time.

        Args:
            field: Any field.
            x: States at the first time, shape (B, *).
            cond: Conditions, one per sample, or None.
            seed: Of the noise of a stochastic solver; None for all others.
            first: Index of the sample in row 0, or of that in every row, int64, shape (B,): the noise of a sample is
                the same in every batch.
        Returns:
            States at the last time, shape (B, *).
        Raises:
            ValueError: if arguments do not fit, or the field returns a number that is not finite.
        """
        run = self._check(field, x, cond, seed, first)
        (state,) = deque(self._run(field, x, run), maxlen=1)
        # One look at the end. Only a failed run is run again, to find the step: looking at every step would make a
        # GPU wait for each.
        if _is_broken(state):
            self._locate(self._run(field, x, run), run.times)
        return state

    def trajectory(
        self, field: Field, x: Tensor, cond: Tensor | None = None, *, seed: int | None = None, first: int | Tensor = 0
    ) -> Tensor:
        """All states on the way, shape (steps + 1, B, *), the first being ``x``; otherwise as :meth:`solve`."""
        run = self._check(field, x, cond, seed, first)
        states = torch.stack([x, *(state.clone() for state in self._run(field, x, run))])
        if _is_broken(states[-1]):
            self._locate(iter(states[1:]), run.times)
        return states

    def _run(self, field: Field, x: Tensor, run: Run) -> Iterator[Tensor]:
        """The states of a run, of a field that may take part in it."""
        field = field.for_run(run)
        noise = (Wiener(run.seed, run.first),) if self.stochastic else ()
        if not field.between_steps:
            yield from self.states(field, x, run.cond, run.times, *noise)
            return
        if self.remembers:
            raise ValueError(
                f"{type(field).__name__} acts between steps, and {type(self).__name__} builds its steps on earlier "
                f"ones: choose a solver of single steps, such as heun or ddim"
            )
        for n in range(len(run.times) - 1):
            (x,) = self.states(
                field, x, run.cond, run.times[n : n + 2], *(each.later(n * self.draws) for each in noise)
            )
            x = field.after_step(x, n + 1)
            yield x

    def _check(self, field: Field, x: Tensor, cond: Tensor | None, seed: int | None, first: int | Tensor) -> Run:
        if not x.is_floating_point() or x.ndim < 2 or len(x) < 1:
            raise ValueError(
                f"states are floating-point tensors of shape (B, *), not {x.dtype} of shape {tuple(x.shape)}"
            )
        field.check_condition(cond, len(x))
        times = self.times(field)
        if seed is None and (self.stochastic or field.draws):
            raise ValueError(f"{type(self if self.stochastic else field).__name__} draws noise: it needs a seed")
        if seed is not None and not (self.stochastic or field.draws):
            raise ValueError(
                f"{type(self).__name__}, as it is set, solves the ODE and draws no noise: it takes no seed"
            )
        return Run(times, cond, seed, first, len(x))

    def _locate(self, states: Iterator[Tensor], times: Tensor) -> None:
        for step, state in enumerate(states):
            if _is_broken(state):
                raise ValueError(
                    f"the state became infinite or NaN in step {step + 1} of {len(times) - 1}, from t = "
                    f"{times[step]:.4g} to {times[step + 1]:.4g}; look at the field there, or take more steps"
                )


def _is_broken(state: Tensor) -> bool:
    """Whether a number is not finite; False where numbers cannot be looked at (torch.compile, torch.vmap)."""
    if torch.compiler.is_compiling():
        return False
    try:
        return not state.isfinite().all()
    except RuntimeError as error:
        if "vmap" in str(error):
            return False
        raise
