r"""Deblurring: an image is seen through a Gaussian blur, round and periodic.

.. math:: A = F^{-1} H F, \qquad H_{kl} = \exp\left(-2 \pi^2 \rho^2 (k^2 + l^2)\right), \qquad A^\top = A,

with F the discrete Fourier transform, k and l in cycles per pixel: what leaves the image on one side enters it on the
other, and :math:`A A^\top = F^{-1} H^2 F`.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .base import Observation, observations


@observations.register("blur")
class Blur(Observation):
    """A Gaussian blur.

    Args:
        width: rho, the standard deviation of the Gaussian in pixels, > 0.
        std: Of the noise, at least 0.
    """

    def __init__(self, width: float = 1.0, std: float = 0.05) -> None:
        super().__init__(std)
        if not 0 < width < math.inf:
            raise ValueError(f"width is the standard deviation of the blur in pixels, above 0, not {width}")
        self.width = width

    def check(self, shape: Sequence[int]) -> None:
        if len(shape) != 3:
            raise ValueError(f"blur takes images (channels, rows, columns), not samples of shape {tuple(shape)}")

    def __call__(self, x: Tensor) -> Tensor:
        return self._filter(x, self._transfer(x))

    def transpose(self, y: Tensor, shape: Sequence[int]) -> Tensor:
        return self(y)

    def solve(self, residual: Tensor, a: Tensor | float, b: Tensor | float, shape: Sequence[int]) -> Tensor:
        return self._filter(residual, 1 / (a + b * self._transfer(residual) ** 2))

    def _transfer(self, x: Tensor) -> Tensor:
        """H, shape (rows, columns // 2 + 1), in float32 at least."""
        options = {"dtype": torch.promote_types(x.dtype, torch.float32), "device": x.device}
        k = torch.fft.fftfreq(x.shape[-2], **options)[:, None]
        frequency = k**2 + torch.fft.rfftfreq(x.shape[-1], **options) ** 2
        return torch.exp(-2 * (math.pi * self.width) ** 2 * frequency)

    def _filter(self, x: Tensor, transfer: Tensor) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        return torch.fft.irfft2(torch.fft.rfft2(wide) * transfer, s=x.shape[-2:]).to(x.dtype)
