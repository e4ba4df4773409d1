r"""Exponential integrators in log-SNR, for the ODE and for the SDE: multistep methods in data coordinates.

The generative SDE whose :math:`g^2` is :math:`\eta` times that of the forward process (0 is the ODE) is linear but for
the data prediction. With :math:`\lambda = \log \alpha / \sigma`, a step of length :math:`h = \lambda_s - \lambda_t` and
:math:`q = e^{-h}` is, exactly,

.. math::
    x_s = \frac{\sigma_s}{\sigma_t} q^\eta\, x_t
        + \alpha_s (1 + \eta) \int_{\lambda_t}^{\lambda_s} e^{(1 + \eta)(\lambda - \lambda_s)} \hat z\, d\lambda
        + \sigma_s \sqrt{1 - q^{2 \eta}}\, n, \qquad n \sim N(0, I),

and the methods differ in how they interpolate the data prediction. The constant one gives DDIM for :math:`\eta = 0` and
DDPM's ancestral sampling for :math:`\eta = 1`. Where log-SNR is infinite, at the very ends of some paths, a step has
order 1. A step may also be many times as long in log-SNR as those before it, as the last of a uniform grid is on the
path ``vp``, whose sigma is small at the end and not 0. Only slopes between which no step is below half its length serve
it: on a grid that is smooth in log-SNR that is all of them, once there are enough steps.

Sources: Song, Meng & Ermon (2020), arXiv 2010.02502, Eq. 12 (DDIM); Lu et al. (2022), arXiv 2211.01095, algorithm 2
(DPM-Solver++); Zhao et al. (2023), arXiv 2302.04867 (UniPC); Xue et al. (2023), arXiv 2309.05019 (SA-Solver).
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from ..paths import Path
from .base import solvers
from .coordinates import Data
from .multistep import Multistep, order_in_pec


class Exponential(Multistep):
    """What they share; eta = 0 unless a subclass lets it be set."""

    coordinates = Data()
    reach = 2.0
    eta = 0.0

    def variable(self, path: Path, times: Tensor) -> Tensor:
        return path.half_log_snr(times)

    def density(self, path: Path, variable: Tensor) -> Tensor:
        return torch.exp((1 + self.eta) * (variable - variable.amax(-1, keepdim=True)))

    def ratios(self, path: Path, times: Tensor) -> Tensor:
        return super().ratios(path, times) * torch.exp(-path.half_log_snr(times).diff()) ** self.eta

    def totals(self, path: Path, times: Tensor) -> Tensor:
        return -path.alpha(times[1:]) * torch.expm1(-(1 + self.eta) * path.half_log_snr(times).diff())

    def stds(self, path: Path, times: Tensor) -> Tensor:
        if self.eta == 0:
            return super().stds(path, times)
        return path.sigma(times[1:]) * torch.sqrt(-torch.expm1(-2 * self.eta * path.half_log_snr(times).diff()))


def midpoint(nodes: Tensor, begin: Tensor, end: Tensor) -> Tensor:
    """The shares of two slopes extrapolated to the middle of the step, as DPM-Solver++ (2M) and UniPC (2) have it."""
    more = (end - begin) / (2 * (nodes[:, 0] - nodes[:, 1]))
    return torch.stack([1 + more, -more], 1)


@solvers.register("ddim")
class DDIM(Exponential):
    """DDIM: order 1, one evaluation per step; with eta = 1 DDPM's ancestral sampling.

    Args:
        eta: Share of fresh noise, in [0, 1]; its standard deviation is :math:`\\eta \\sigma_s \\sqrt{1 - q^2}`.
        steps, grid, t_start, t_end: As for every solver.
    """

    order = predictor = 1

    def __init__(
        self,
        eta: float = 0.0,
        steps: int = 20,
        grid: str | Mapping[str, Any] = "uniform",
        t_start: float | None = None,
        t_end: float | None = None,
    ) -> None:
        super().__init__(steps, grid, t_start, t_end)
        if not 0 <= eta <= 1:
            raise ValueError(f"ddim needs eta in [0, 1], not {eta}")
        self.noise = eta  # DDIM's own eta, which is ours at 0 and 1 only
        self.strong_order = 1.0 if eta else None

    def stds(self, path: Path, times: Tensor) -> Tensor:
        q2 = torch.exp(-2 * path.half_log_snr(times).diff())
        return self.noise * path.sigma(times[1:]) * torch.sqrt(1 - q2)

    def ratios(self, path: Path, times: Tensor) -> Tensor:
        kept = torch.sqrt(path.sigma(times[1:]) ** 2 - self.stds(path, times) ** 2)
        return kept / path.sigma(times[:-1])

    def totals(self, path: Path, times: Tensor) -> Tensor:
        return path.alpha(times[1:]) - path.alpha(times[:-1]) * self.ratios(path, times)


@solvers.register("dpmpp_2m")
class DPMpp2M(Exponential):
    """DPM-Solver++ (2M): order 2, one evaluation per step."""

    order = predictor = 2

    def shares(self, path: Path, nodes: Tensor, begin: Tensor, end: Tensor) -> Tensor:
        return midpoint(nodes, begin, end) if nodes.shape[1] == 2 else super().shares(path, nodes, begin, end)


@solvers.register("dpmpp_2m_sde")
class DPMpp2MSDE(DPMpp2M):
    """SDE-DPM-Solver++ (2M): strong order 1, one evaluation per step.

    Args:
        eta: Strength of the noise relative to the forward process's, >= 0; 0 is dpmpp_2m.
        steps, grid, t_start, t_end: As for every solver.
    """

    def __init__(
        self,
        eta: float = 1.0,
        steps: int = 20,
        grid: str | Mapping[str, Any] = "uniform",
        t_start: float | None = None,
        t_end: float | None = None,
    ) -> None:
        super().__init__(steps, grid, t_start, t_end)
        self.eta = check_eta(eta)
        self.strong_order = 1.0 if eta else None


@solvers.register("dpmpp_3m")
class DPMpp3M(Exponential):
    """DPM-Solver++ (3M) with the exact quadratic: order 3, one evaluation per step; one more to start.

    The published update gives the second difference half its weight, which makes its order 2.
    """

    order = predictor = 3


@solvers.register("unipc")
class UniPC(Exponential):
    """UniPC in data prediction, B(h) = e^h - 1: order 3, one evaluation per step.

    Args:
        predictor: Past slopes that predict and correct: 2 (UniPC-2) or 3 (UniPC-3). Both converge with order 3,
            since the first step has no history.
        steps, grid, t_start, t_end: As for every solver.
    """

    order = 3

    def __init__(
        self,
        predictor: Literal[2, 3] = 2,
        steps: int = 20,
        grid: str | Mapping[str, Any] = "uniform",
        t_start: float | None = None,
        t_end: float | None = None,
    ) -> None:
        super().__init__(steps, grid, t_start, t_end)
        self.predictor = self.corrector = predictor

    def shares(self, path: Path, nodes: Tensor, begin: Tensor, end: Tensor) -> Tensor:
        # From three nodes on UniPC is the exact polynomial; for two it takes the middle of the step.
        if nodes.shape[1] != 2:
            return super().shares(path, nodes, begin, end)
        return midpoint(nodes, begin, end) if (nodes[:, 0] == begin).all() else torch.full_like(nodes, 0.5)


@solvers.register("stochastic_adams")
class StochasticAdams(Exponential):
    """SA-Solver: a stochastic Adams predictor and corrector, strong order 1, one evaluation per step.

    Args:
        eta: Strength of the noise relative to the forward process's, >= 0; its tau is the root of this.
        predictor, corrector: Past slopes that predict and that correct, 1 to 4; no corrector if 0.
        steps, grid, t_start, t_end: As for every solver.
    """

    def __init__(
        self,
        eta: float = 1.0,
        predictor: int = 2,
        corrector: int = 2,
        steps: int = 20,
        grid: str | Mapping[str, Any] = "uniform",
        t_start: float | None = None,
        t_end: float | None = None,
    ) -> None:
        super().__init__(steps, grid, t_start, t_end)
        if not (1 <= predictor <= 4 and 0 <= corrector <= 4):
            raise ValueError(f"stochastic_adams takes 1 to 4 slopes, not predictor={predictor}, corrector={corrector}")
        self.eta = check_eta(eta)
        self.predictor = predictor
        self.corrector = corrector
        self.strong_order = 1.0 if eta else None
        self.order = order_in_pec(predictor, corrector) if corrector else min(predictor, 2) if eta else predictor


def check_eta(eta: float) -> float:
    """ValueError unless it is a strength."""
    if not 0 <= eta < math.inf:
        raise ValueError(f"eta is a strength of at least 0, not {eta}")
    return eta
