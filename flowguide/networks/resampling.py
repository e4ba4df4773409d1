r"""Convolutions that change the resolution of what they are given.

Doubling by nearest neighbours and then convolving with a 3x3 kernel k meets every pixel up to four times. Both are one
transposed convolution of stride 2, with a 4x4 kernel,

.. math:: \mathrm{up}(x) * k = \mathrm{transposed}\big( x,\; k * 1_{2 \times 2} \big),

which takes 16 multiplications for a pixel in place of 36. On CPU it is so computed where there are pixels enough to pay
for the kernel; the numbers are the same but for rounding.

Source: the identity is elementary; as subpixel convolution, Shi et al. (2016), arXiv 1609.07009.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

_ENOUGH = 2048  # pixels of a batch, from where on it is faster with any number of channels


class Doubling(nn.Conv2d):
    """Twice the resolution, by nearest neighbours, and then a 3x3 convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1)
        # Along one side: each of the 3 taps, turned round, goes to two neighbours among 4.
        side = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0]])
        self.register_buffer("spread", torch.kron(side, side), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu" and x.dtype == self.weight.dtype and x.numel() >= _ENOUGH * self.in_channels:
            kernel = (self.weight.flatten(2) @ self.spread).unflatten(2, (4, 4)).transpose(0, 1)
            return functional.conv_transpose2d(x, kernel, self.bias, stride=2, padding=1)
        return super().forward(functional.interpolate(x, scale_factor=2, mode="nearest"))


class Halving(nn.Conv2d):
    """Half the resolution, by means of 2x2 pixels, and then a 3x3 convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(functional.avg_pool2d(x, 2))


class Striding(nn.Conv2d):
    """Half the resolution, by a 3x3 convolution of stride 2 over pixels that are padded below and to the right alone.

    Source: Ho, Jain & Abbeel (2020), arXiv 2006.11239, whose convolutions were padded so.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(functional.pad(x, (0, 1, 0, 1)))
