"""The methods of torchsde, with noise that is seeded per sample."""

import math
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor

from ..fields import Field
from .base import solvers
from .sde import SDE, drift
from .wiener import Wiener

Method = Literal["euler", "milstein", "srk", "heun", "midpoint", "reversible_heun", "euler_heun"]
_ITO = ("euler", "milstein", "srk")
_STRONG = {"srk": 1.5}


@solvers.register("torchsde")
class TorchSDE(SDE):
    """A method of torchsde on the generative SDE: many times slower per step, for comparison.

    Args:
        method: euler, milstein, srk (strong order 1.5); heun, midpoint, reversible_heun, euler_heun.
        diffusion, steps, grid, t_start, t_end, score_scale, noise_scale: As for every SDE solver.
    Source: Li et al. (2020), arXiv 2001.01328, and its code.
    """

    order = 1

    def __init__(
        self,
        method: Method = "euler",
        diffusion: str | Mapping[str, Any] = "sigma",
        steps: int = 100,
        grid: str | Mapping[str, Any] = "uniform",
        t_start: float | None = None,
        t_end: float | None = None,
        score_scale: float = 1.0,
        noise_scale: float = 1.0,
    ) -> None:
        super().__init__(diffusion, steps, grid, t_start, t_end, score_scale, noise_scale)
        self.method = method
        self.strong_order = _STRONG.get(method, 1.0)
        self._of_a_step: int | None = None  # evaluations, the same for all

    @property
    def evaluations(self) -> int | None:
        return None if self._of_a_step is None else self.steps * self._of_a_step

    def states(self, field: Field, x: Tensor, cond: Tensor | None, times: Tensor, noise: Wiener) -> Iterator[Tensor]:
        import torchsde

        solver = self

        class Problem(torch.nn.Module):
            noise_type = "diagonal"  # for torchsde, additive noise is a matrix
            sde_type = "ito" if solver.method in _ITO else "stratonovich"

            def f(self, t: Tensor, y: Tensor) -> Tensor:
                solver._of_a_step += 1
                k = solver.pull(field.path, t.double()).item()
                return drift(field, y.reshape(x.shape), t.to(x), cond, k).flatten(1)

            def g(self, t: Tensor, y: Tensor) -> Tensor:
                return solver.noise(field.path, t.double()).to(y).expand_as(y)

        problem, y = Problem(), x.flatten(1)
        for n, span in enumerate(pairwise(times)):
            # A run for each step: torchsde has no uneven grids, and asks for noise by time.
            ts, h = torch.stack(span).to(x.device), (span[1] - span[0]).item()
            self._of_a_step = 0
            y = torchsde.sdeint(problem, y, ts, bm=_Increment(noise, n, y, h), method=self.method, dt=h)[-1].to(x)
            yield y.reshape(x.shape)


class _Increment:
    """What torchsde wants of Brownian motion over one step: its increment and its time integral."""

    levy_area_approximation = "space-time"

    def __init__(self, noise: Wiener, step: int, y: Tensor, h: float) -> None:
        one, two = noise(step, y), noise(step, y, draw=1)
        self.shape, self.dtype, self.device = y.shape, y.dtype, y.device
        self.dw = math.sqrt(h) * one
        self.dz = h**1.5 / 2 * (one + two / math.sqrt(3))

    def size(self) -> torch.Size:
        return self.shape

    def __call__(self, start: Tensor, end: Tensor | None = None, return_U: bool = False, return_A: bool = False) -> Any:
        return (self.dw, self.dz) if return_U else self.dw
