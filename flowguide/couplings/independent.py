"""No coupling: data and source as they were drawn."""

import torch
from torch import Tensor

from .base import Coupling, couplings


@couplings.register("independent")
class Independent(Coupling):
    """Data and source as they were drawn, independent of each other."""

    def assign(self, data: Tensor, source: Tensor, cond: Tensor | None, generator: torch.Generator | None) -> Tensor:
        return torch.arange(len(data), device=data.device)

    def __call__(
        self, data: Tensor, source: Tensor, cond: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        return source  # not copied
