"""What a path is: two scales of time, and what follows from them."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from ..randomness import normal
from ..registry import Registry
from .base import Kind, Output, Prediction
from .coefficients import Coefficients, Numbers

paths = Registry("path")


class Path(ABC):
    """A Gaussian probability path: :math:`x_t = \\alpha_t z + \\sigma_t \\varepsilon`, noise at t = 0, data at t = 1.

    A path needs :meth:`alpha` and :meth:`sigma`; their time derivatives come from forward-mode differentiation
    unless it states them in closed form. Two paths of one class with equal options are equal.

    It must turn from noise to data at every time, :math:`\\dot\\alpha\\sigma - \\alpha\\dot\\sigma > 0`: where that is
    0, the velocity does not tell the two apart. A clock that stands still at an end, as that of alpha = t^2,
    sigma = 1 - t^2 does at t = 0, begins after it: ``t_min = 1e-3``.

    Attributes:
        t_min, t_max: The interval in which all four coefficients are finite. Solvers stay inside.
    """

    t_min: float = 0.0
    t_max: float = 1.0

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """Signal scale, same shape as ``t``; never decreasing."""

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        """Noise scale, same shape as ``t``; never increasing."""

    def alpha_dot(self, t: Tensor) -> Tensor:
        """Time derivative of :meth:`alpha`."""
        return torch.func.jvp(self.alpha, (t,), (torch.ones_like(t),))[1]

    def sigma_dot(self, t: Tensor) -> Tensor:
        """Time derivative of :meth:`sigma`."""
        return torch.func.jvp(self.sigma, (t,), (torch.ones_like(t),))[1]

    def half_log_snr(self, t: Tensor) -> Tensor:
        """:math:`\\lambda_t = \\log(\\alpha_t / \\sigma_t)`, same shape as ``t``; infinite where a scale is 0."""
        return self.alpha(t).log() - self.sigma(t).log()

    def time_at(self, half_log_snr: Tensor) -> Tensor:
        """The time at which :meth:`half_log_snr` has a value: its inverse, by bisection in float64.

        Args:
            half_log_snr: Any shape; infinite values mean the ends, where the path has them there.
        Returns:
            Times in [t_min, t_max], float64, same shape.
        Raises:
            ValueError: if a value is not reached on the path.
        """
        wanted = half_log_snr.double()
        first, last = self._half_log_snr_of_ends()
        slack = 1e-9  # what was computed from the ends themselves must not be refused for its rounding
        outside = wanted[~((wanted >= first - slack) & (wanted <= last + slack))]
        if len(outside):
            raise ValueError(
                f"on {self!r} log(alpha / sigma) goes from {first:.4g} to {last:.4g} and is never {outside[0]:.4g}"
            )
        return self.nearest_time(wanted)

    def nearest_time(self, half_log_snr: Tensor) -> Tensor:
        """As :meth:`time_at`, with the ends for values beyond them; looks at no value, so that no GPU has to wait."""
        wanted = half_log_snr.double()
        first, last = self._half_log_snr_of_ends()
        low, high = torch.full_like(wanted, self.t_min), torch.full_like(wanted, self.t_max)
        for _ in range(60):
            middle = (low + high) / 2
            below = self.half_log_snr(middle) < wanted
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        # Bisection never arrives at an end.
        return high.masked_fill(wanted <= first, self.t_min).masked_fill(wanted >= last, self.t_max)

    def _half_log_snr_of_ends(self) -> list[float]:
        return self.half_log_snr(torch.tensor([self.t_min, self.t_max], dtype=torch.float64)).tolist()

    def numbers(self, t: Tensor) -> list[Numbers]:
        """The coefficients at each of the times ``t``, shape (N,), as Python numbers.

        Raises:
            ValueError: if the path stands still at one of them.
        """
        columns = (self.alpha(t), self.sigma(t), self.alpha_dot(t), self.sigma_dot(t))
        found = [Numbers(*row) for row in torch.stack(columns, 1).tolist()]
        for time, (alpha, sigma, alpha_dot, sigma_dot) in zip(t.tolist(), found, strict=True):
            determinant = alpha_dot * sigma - alpha * sigma_dot
            if not determinant > 0:
                raise ValueError(
                    f"{self!r} does not turn from noise to data at t = {time:g}: alpha_dot sigma - alpha sigma_dot is "
                    f"{determinant:g} there, and must be above 0; if that is an end, t_min or t_max can leave it out"
                )
        return found

    def at(self, t: Tensor, like: Tensor) -> Coefficients:
        """The coefficients at time ``t``, shape () or (B,), shaped to multiply ``like``, shape (B, *)."""
        return Coefficients(self, t, like.ndim)

    def interpolate(self, data: Tensor, noise: Tensor, t: Tensor) -> Prediction:
        """The state between a data point and a noise sample, with all that is true of it.

        Args:
            data, noise: Shape (B, *).
            t: Shape () or (B,), in [t_min, t_max].
        Returns:
            A Prediction whose data and noise are the ones given: ``.x`` is the state, ``.velocity`` its derivative
            :math:`\\dot\\alpha_t z + \\dot\\sigma_t \\varepsilon`, the regression target of flow matching.
        """
        c = self.at(t, data)
        return Prediction(c, c.alpha * data + c.sigma * noise, data=data, noise=noise)

    def predict(self, kind: Kind, value: Tensor, x: Tensor, t: Tensor) -> Prediction:
        """What ``value``, a prediction of ``kind`` at (x, t), says about every other kind."""
        return Prediction(self.at(t, x), x, **{kind: value})

    def interval(self, kind: Output, margin: float = 1e-3) -> tuple[float, float]:
        """The times in which a prediction of ``kind`` determines all others.

        Noise and score say nothing about the data where alpha = 0, nor data about the noise where sigma = 0, and little
        nearby: the interval leaves out where alpha / sigma, or sigma / alpha, is below ``margin``, which bounds the
        amplification of float32 rounding by 1 / margin.
        """
        start, end = self.t_min, self.t_max
        if kind in ("noise", "score"):
            start = max(start, _time_of_ratio(self, math.log(margin)))
        if kind == "data":
            end = min(end, _time_of_ratio(self, -math.log(margin)))
        return start, end

    def prior(
        self,
        shape: Sequence[int],
        seed: int = 0,
        *,
        t: float | None = None,
        first: int | Tensor = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Noise to start a solver from: :math:`\\sigma_t \\varepsilon`, at ``t = t_min`` unless told otherwise.

        Args:
            shape: (B, *).
            seed: Sample ``first + i`` of this seed is the same in every batch (:mod:`flowguide.randomness`).
        Returns:
            Shape (B, *).
        """
        noise = normal(shape, seed, first=first, device=device, dtype=dtype)
        return noise * self.sigma(torch.tensor(self.t_min if t is None else t, dtype=torch.float64)).item()

    def _options(self) -> dict[str, Any]:
        """What tells it from others of its class: its attributes but private ones, which follow from those."""
        return {key: value for key, value in vars(self).items() if not key.startswith("_")}

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and _frozen(self._options()) == _frozen(other._options())

    def __hash__(self) -> int:
        return hash((type(self), _frozen(self._options())))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in self._options().items())})"


@lru_cache(maxsize=256)
def _time_of_ratio(path: Path, log_ratio: float) -> float:
    """The time at which log(alpha / sigma) is ``log_ratio``, or the end of the path that is nearest to it."""
    ends = path.half_log_snr(torch.tensor([path.t_min, path.t_max], dtype=torch.float64)).tolist()
    if log_ratio <= ends[0]:
        return path.t_min
    return path.t_max if log_ratio >= ends[1] else path.time_at(torch.tensor(log_ratio, dtype=torch.float64)).item()


def _frozen(value: Any) -> Any:
    """An option as something that can be compared and hashed: lists and tensors are what is in them."""
    if isinstance(value, Tensor):
        return (tuple(value.shape), tuple(value.flatten().tolist()))
    if isinstance(value, Mapping):
        return tuple(sorted((key, _frozen(each)) for key, each in value.items()))
    return tuple(map(_frozen, value)) if isinstance(value, (list, tuple)) else value
