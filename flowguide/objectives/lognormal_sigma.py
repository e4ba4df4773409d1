r"""EDM's law of noise levels, on any path.

.. math:: \log \frac{\sigma_t}{\alpha_t} = -\lambda_t \sim \mathcal N(\text{mean}, \text{std}^2),

restricted to the interval in which the field is defined: uniform numbers between the values of the normal distribution
function at its ends go through the inverse of that function, and then to the times of these noise levels. Nothing
gathers at the ends.

Source: Karras et al. (2022), arXiv 2206.00364, table 1 and section 5.
"""

import math

import torch
from torch import Tensor

from ..paths import Path
from .time_sampling import Times, TimeSampling, checked, time_samplings


@time_samplings.register("lognormal_sigma")
class LognormalSigma(TimeSampling):
    """Noise levels sigma / alpha whose logarithm is normal, as in EDM, on any path.

    Args:
        mean: Of the logarithm; EDM's P_mean.
        std: Of the logarithm, positive; EDM's P_std.
    """

    def __init__(self, mean: float = -1.2, std: float = 1.2) -> None:
        self.mean, self.std = checked("lognormal_sigma", mean, std)

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
        # On the host, where to look at numbers makes no device wait.
        ends = path.half_log_snr(torch.tensor([t_min, t_max], dtype=torch.float64))
        low, high = self._standard(ends).flip(0)
        # In the upper tail the distribution function has no digits left, so take the mirror image.
        sign = -1.0 if low > 0 else 1.0
        if sign < 0:
            low, high = -high, -low
        # Not torch.special.ndtr, which is 0 from 9 standard deviations down.
        first, last = ((0.5 * torch.special.erfc(-end / math.sqrt(2))).item() for end in (low, high))
        if not last > first:
            raise ValueError(
                f"lognormal_sigma with mean={self.mean}, std={self.std} has next to no noise level on {path!r}: there "
                f"log(sigma / alpha) goes from {-ends[1]:.4g} to {-ends[0]:.4g}"
            )
        u = torch.rand(count, generator=generator, device=device, dtype=torch.float64)
        normal = sign * torch.special.ndtri(first + (last - first) * u)
        # The nearest time: rounding may step over the ends.
        return Times(path.nearest_time(-(self.mean + self.std * normal)).to(dtype or torch.get_default_dtype()))

    def _standard(self, half_log_snr: Tensor) -> Tensor:
        return (-half_log_snr - self.mean) / self.std
