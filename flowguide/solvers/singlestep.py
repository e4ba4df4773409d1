r"""DPM-Solver++ (2S): the midpoint rule in log-SNR.

.. math::
    x_m &= \frac{\sigma_m}{\sigma_t} x_t + \alpha_m (1 - e^{-h / 2})\, \hat z(x_t, t), \qquad
        \lambda_m = \frac{\lambda_t + \lambda_s}{2}, \quad h = \lambda_s - \lambda_t, \\
    x_s &= \frac{\sigma_s}{\sigma_t} x_t + \alpha_s (1 - e^{-h})\, \hat z(x_m, m).

Source: Lu et al. (2022), arXiv 2211.01095, algorithm 1 with :math:`r = 1/2`.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..paths import Path
from .base import solvers
from .coordinates import Coordinates, Data
from .runge_kutta import Midpoint, Stage, stages_of


@solvers.register("dpmpp_2s")
class DPMpp2S(Midpoint):
    """DPM-Solver++ (2S): order 2, two evaluations per step.

    A step from where there is no signal meets the middle of its clock, alpha / sigma, instead; one to where there is no
    noise is the midpoint rule in straight coordinates.
    """

    def __init__(
        self,
        steps: int = 20,
        grid: str | Mapping[str, Any] = "uniform",
        t_start: float | None = None,
        t_end: float | None = None,
    ) -> None:
        super().__init__(steps, grid, t_start, t_end, coordinates="data")

    @classmethod
    def stages(cls, path: Path, begin: Tensor, end: Tensor, coordinates: Coordinates, x: Tensor) -> list[list[Stage]]:
        start, stop = path.half_log_snr(begin), path.half_log_snr(end)
        if not isinstance(coordinates, Data):
            return super().stages(path, begin, end, coordinates, x)
        clock_middle = torch.logaddexp(start, stop) - math.log(2)
        middle = path.time_at(torch.where(start.isinf(), clock_middle, (start + stop) / 2))
        columns = []
        for at, row in ((middle, [1.0]), (end, [0.0, 1.0])):
            weight = -path.alpha(at) * torch.expm1(start - path.half_log_snr(at))
            weights = weight[:, None] * torch.tensor(row, dtype=torch.float64)
            columns.append(stages_of(path, at, path.sigma(at) / path.sigma(begin), weights, x))
        return columns
