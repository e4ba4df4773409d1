r"""Time samplings: at which times a batch is trained.

Drawing t from a density p instead of uniformly is a weighting by p, with less noise in the gradients where p is large.
A time sampling that is only to reduce that noise takes the weighting back: it gives a factor :math:`c_t` for the loss,
by which every expectation is the uniform one,

.. math:: E_{t \sim p}\, c_t\, \ell(t) = E_{t \sim U}\, \ell(t), \qquad c_t = \frac{1}{(t_{\max} - t_{\min})\, p(t)}.

Those whose law is meant to weigh give the factor 1.
"""

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from ..paths import Path
from ..registry import Registry

time_samplings = Registry("time sampling")


class Times(NamedTuple):
    """Times, and the factors of their losses.

    Attributes:
        t: Shape (B,).
        factor: Shape (B,), or one number.
    """

    t: Tensor
    factor: Tensor | float = 1.0


class TimeSampling(ABC):
    """A law of times in an interval of a path."""

    @abstractmethod
    def draw(
        self,
        count: int,
        path: Path,
        t_min: float,
        t_max: float,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Times:
        """Draw ``count`` times in [t_min, t_max].

        Args:
            count: B.
            path: What they are times of.
            t_min, t_max: The interval of the field that is trained.
            generator: On ``device``; torch's global one if None.
            device, dtype: Of the times.
        """


@time_samplings.register("uniform")
class Uniform(TimeSampling):
    """All times alike."""

    def draw(
        self,
        count: int,
        path: Path,
        t_min: float,
        t_max: float,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Times:
        return Times(t_min + (t_max - t_min) * torch.rand(count, generator=generator, device=device, dtype=dtype))


@time_samplings.register("logit_normal")
class LogitNormal(TimeSampling):
    """Mostly the middle: the logit of t is normal (Esser et al. 2024, arXiv 2403.03206, section 3.1).

    The paper's time runs from data to noise and ours from noise to data, so that its mean has the opposite sign.

    Args:
        mean: Of the logit: positive for more times near the data.
        std: Of the logit, positive.
    """

    def __init__(self, mean: float = 0.0, std: float = 1.0) -> None:
        self.mean, self.std = checked("logit_normal", mean, std)

    def draw(
        self,
        count: int,
        path: Path,
        t_min: float,
        t_max: float,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Times:
        logit = self.mean + self.std * torch.randn(count, generator=generator, device=device, dtype=dtype)
        return Times(t_min + (t_max - t_min) * torch.sigmoid(logit))


def checked(owner: str, mean: float, std: float) -> tuple[float, float]:
    """Mean and standard deviation of a normal law; ValueError unless they are those of one."""
    if not math.isfinite(mean):
        raise ValueError(f"the time sampling {owner} needs a finite mean, not {mean}")
    if not 0 < std < math.inf:
        raise ValueError(f"the time sampling {owner} needs a positive std, not {std}")
    return mean, std
