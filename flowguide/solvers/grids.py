r"""Time grids: where a solver puts its steps.

Those that see only the ratio of noise to signal place the same steps on every path: through :math:`\sigma / \alpha`, or
through :math:`u = \sigma / (\alpha + \sigma)`, the time of the straightened path, which goes from near 1 (noise) to
near 0 (data).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..paths import Path
from ..registry import Registry

if TYPE_CHECKING:
    from .base import Solver

grids = Registry("grid")


class Grid(ABC):
    """A choice of ``solver.steps + 1`` increasing times."""

    @abstractmethod
    def __call__(self, path: Path, start: float, end: float, solver: "Solver") -> Tensor:
        """float64, shape (solver.steps + 1,), inside [start, end], which is inside the path's interval."""


def progress(solver: "Solver") -> Tensor:
    """0, 1 / steps, ..., 1."""
    return torch.linspace(0, 1, solver.steps + 1, dtype=torch.float64)


@grids.register("uniform")
class Uniform(Grid):
    """Steps of equal length in t."""

    def __call__(self, path: Path, start: float, end: float, solver: "Solver") -> Tensor:
        return torch.linspace(start, end, solver.steps + 1, dtype=torch.float64)


@grids.register("quadratic")
class Quadratic(Grid):
    """Quadratic in t, with the short steps near the data (Song et al., 2020, arXiv 2010.02502, appendix D.2)."""

    def __call__(self, path: Path, start: float, end: float, solver: "Solver") -> Tensor:
        share = (1 - progress(solver)) ** 2
        return start * share + end * (1 - share)


@grids.register("cosine")
class Cosine(Grid):
    """Chebyshev's: a cosine in t, with the short steps near both ends."""

    def __call__(self, path: Path, start: float, end: float, solver: "Solver") -> Tensor:
        share = torch.sin(math.pi / 2 * progress(solver)) ** 2
        return start * (1 - share) + end * share


@grids.register("explicit")
class Explicit(Grid):
    """The times that are given.

    Args:
        times: steps + 1 increasing times.
    """

    def __init__(self, times: Sequence[float]) -> None:
        self.times = torch.tensor(times, dtype=torch.float64)

    def __call__(self, path: Path, start: float, end: float, solver: "Solver") -> Tensor:
        return self.times


_ALL_NOISE = math.log(1e4)  # log rho from which a state tells nothing of the data


class _Ratio(Grid):
    """Through rho = sigma / alpha, which has no end where alpha = 0.

    Args:
        sigma_min: Where sigma = 0 at the end, rho at the beginning of the last step, which goes to the end itself.
        sigma_max: Where alpha = 0 at the start, or next to it (rho above 10^4), the rho that the steps are counted
            from; the first one still sets out from the start itself.
    """

    def __init__(self, sigma_min: float = 0.002, sigma_max: float = 80.0) -> None:
        if not 0 < sigma_min < sigma_max < math.inf:
            raise ValueError(
                f"a grid needs 0 < sigma_min < sigma_max, not sigma_min={sigma_min}, sigma_max={sigma_max}"
            )
        self.sigma_min = sigma_min
        self.sigma_max = sigma_max

    @abstractmethod
    def between(self, high: float, low: float, share: Tensor) -> Tensor:
        """log rho at a share of the way from ``high`` to ``low``, both log rho."""

    def __call__(self, path: Path, start: float, end: float, solver: "Solver") -> Tensor:
        high, low = (-path.half_log_snr(torch.tensor([start, end], dtype=torch.float64))).tolist()
        count = solver.steps if math.isinf(low) else solver.steps + 1
        first = min(high, max(math.log(self.sigma_max), low)) if high > _ALL_NOISE else high
        last = math.log(self.sigma_min) if math.isinf(low) else low
        if not last < first or count < 2:
            return torch.linspace(start, end, solver.steps + 1, dtype=torch.float64)
        log_rho = self.between(first, last, torch.linspace(0, 1, count, dtype=torch.float64))
        times = path.time_at(-log_rho[1:])
        times = torch.cat([torch.tensor([start], dtype=torch.float64), times])
        if math.isinf(low):
            return torch.cat([times, torch.tensor([end], dtype=torch.float64)])
        times[-1] = end
        return times


@grids.register("log_snr")
class LogSNR(_Ratio):
    """Steps of equal length in log-SNR (Lu et al., 2022, arXiv 2206.00927)."""

    def between(self, high: float, low: float, share: Tensor) -> Tensor:
        return high + (low - high) * share


@grids.register("karras")
class Karras(_Ratio):
    """Steps of equal length in (sigma / alpha)^(1 / rho) (Karras et al., 2022, arXiv 2206.00364, Eq. 5).

    Args:
        rho: 1 is uniform in sigma / alpha; the larger, the more of the steps are near the data.
        sigma_min, sigma_max: Ends of the ratio where it has none.
    """

    def __init__(self, rho: float = 7.0, sigma_min: float = 0.002, sigma_max: float = 80.0) -> None:
        super().__init__(sigma_min, sigma_max)
        if not 0 < rho < math.inf:
            raise ValueError(f"karras needs rho > 0, not {rho}")
        self.rho = rho

    def between(self, high: float, low: float, share: Tensor) -> Tensor:
        top, bottom = math.exp(high / self.rho), math.exp(low / self.rho)
        return self.rho * torch.log(top + (bottom - top) * share)


@grids.register("shifted")
class Shifted(Grid):
    r"""Uniform in the straightened time u, bent by a power and a shift.

    With v going from 1 to 0 in equal steps,

    .. math:: u = u_{end} + (u_{start} - u_{end}) \frac{c v^p}{1 + (c - 1) v^p}.

    The shift is that of Stable Diffusion 3 (where :math:`u_{end} = 0`), there
    :math:`c = \sqrt{\text{pixels} / \text{pixels where } c = 1}`: more steps near the noise for c > 1. The power puts
    more of them near the data for p > 1.

    Args:
        shift: c, > 0.
        power: p, > 0.
    Source: Esser et al. (2024), arXiv 2403.03206, Eq. 23.
    """

    def __init__(self, shift: float = 3.0, power: float = 1.0) -> None:
        if not (0 < shift < math.inf and 0 < power < math.inf):
            raise ValueError(f"shifted needs shift > 0 and power > 0, not shift={shift}, power={power}")
        self.shift = shift
        self.power = power

    def __call__(self, path: Path, start: float, end: float, solver: "Solver") -> Tensor:
        v = (1 - progress(solver)) ** self.power
        return along_noise(path, start, end, self.shift * v / (1 + (self.shift - 1) * v))


def along_noise(path: Path, start: float, end: float, share: Tensor) -> Tensor:
    """The times at which u = sigma / (alpha + sigma) has gone down to a share of the way from ``end`` to ``start``.

    Args:
        share: Decreasing from 1 to 0, shape (steps + 1,).
    """
    half_log_snr = path.half_log_snr(torch.tensor([start, end], dtype=torch.float64))
    top, bottom = torch.sigmoid(-half_log_snr)
    times = path.time_at(-torch.logit(bottom + (top - bottom) * share[1:-1]))
    return torch.cat([half_log_snr.new_tensor([start]), times, half_log_snr.new_tensor([end])])
