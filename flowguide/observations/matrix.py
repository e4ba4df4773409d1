"""Any matrix: for toys, whose posteriors are known."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .base import Observation, observations


@observations.register("matrix")
class Matrix(Observation):
    """Any matrix, applied to the flattened sample.

    Args:
        rows: A, shape (M, D): in a recipe a list of rows.
        std: Of the noise, at least 0.
    """

    def __init__(self, rows: Tensor | Sequence[Sequence[float]], std: float = 0.05) -> None:
        super().__init__(std)
        try:
            self.rows = torch.as_tensor(rows, dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError):
            raise ValueError(f"rows must be a matrix of numbers, as many in every row, not {rows!r:.80}") from None
        if self.rows.ndim != 2 or not self.rows.isfinite().all():
            raise ValueError(f"rows must be a matrix of finite numbers, not of shape {tuple(self.rows.shape)}")

    def check(self, shape: Sequence[int]) -> None:
        if (numbers := torch.Size(shape).numel()) != self.rows.shape[1]:
            raise ValueError(
                f"the matrix takes {self.rows.shape[1]} numbers, and samples of shape {tuple(shape)} have {numbers}"
            )

    def __call__(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.rows.T.to(dtype=x.dtype, device=x.device)
