r"""Optimal transport within a batch.

.. math:: \pi = \arg\min_\pi \sum_i \|z_i - \varepsilon_{\pi(i)}\|^2

Pairs that lie close make straighter flows, which take fewer steps to solve. The labels play no part in it: a class then
trains on the source samples nearest to it and not on all, while sampling starts from all. ``conditional_ot`` is for
models that are guided.

Sources: Tong et al. (2023), arXiv 2302.00482, section 3; Pooladian et al. (2023), arXiv 2304.14772.
"""

import torch
from torch import Tensor

from .base import Coupling, couplings
from .costs import assignment, inner_products


@couplings.register("ot")
class OptimalTransport(Coupling):
    """Exact optimal transport between the data and the source samples of a batch, whatever their conditions."""

    def assign(self, data: Tensor, source: Tensor, cond: Tensor | None, generator: torch.Generator | None) -> Tensor:
        return assignment(inner_products(data, source))
