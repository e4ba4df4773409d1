r"""Super-resolution: an image is seen as the means of its blocks.

.. math:: (A x)_{IJ} = \frac1{f^2} \sum_{i, j \in \text{block } IJ} x_{ij}, \qquad A A^\top = f^{-2} I.
"""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from .base import Observation, observations


@observations.register("downsample")
class Downsample(Observation):
    """The means of blocks: super-resolution.

    Args:
        factor: Rows and columns of a block, at least 2.
        std: Of the noise, at least 0.
    """

    def __init__(self, factor: int = 2, std: float = 0.05) -> None:
        super().__init__(std)
        if factor < 2:
            raise ValueError(f"factor is the number of rows and columns of a block, at least 2, not {factor}")
        self.factor = factor

    def check(self, shape: Sequence[int]) -> None:
        if len(shape) != 3 or shape[1] % self.factor or shape[2] % self.factor:
            raise ValueError(
                f"downsample takes images (channels, rows, columns) that blocks of {self.factor} x {self.factor} fill, "
                f"not samples of shape {tuple(shape)}"
            )

    def __call__(self, x: Tensor) -> Tensor:
        return functional.avg_pool2d(x, self.factor)

    def transpose(self, y: Tensor, shape: Sequence[int]) -> Tensor:
        spread = y.repeat_interleave(self.factor, dim=-1).repeat_interleave(self.factor, dim=-2)
        return spread / self.factor**2

    def solve(self, residual: Tensor, a: Tensor | float, b: Tensor | float, shape: Sequence[int]) -> Tensor:
        return residual / (a + b / self.factor**2)
