r"""Entropic optimal transport within a batch.

.. math:: P = \arg\min_P \sum_{ij} P_{ij} C_{ij} + \rho\, \bar C \sum_{ij} P_{ij} \log P_{ij}, \qquad
    \sum_j P_{ij} = \sum_i P_{ij} = \tfrac1B, \qquad C_{ij} = \|z_i - \varepsilon_j\|^2,

with :math:`\bar C` the mean of all costs, so that the regularization :math:`\rho` means the same for points and for
images. The plan is no permutation: each data sample draws its source sample from its row. A source sample may serve
twice or not at all, and is used once in the mean. As rho rises the pairs become independent, as it falls they become
those of ``ot``.

Sources: Cuturi (2013), arXiv 1306.0895; Tong et al. (2023), arXiv 2302.00482, section 3 (Schrödinger bridges). Solved
by POT, an optional dependency (Flamary et al. 2021, JMLR 22:78), in logarithms.
"""

import math

import torch
from torch import Tensor

from .base import Coupling, couplings
from .costs import check_finite, squared_distances


@couplings.register("sinkhorn")
class Sinkhorn(Coupling):
    """Pairs drawn from an entropic transport plan, whatever their conditions; needs POT: pip install 'flowguide[ot]'.

    Args:
        regularization: Of the entropy, in units of the mean cost of a pair, positive.
        iterations: At most.
    Raises:
        ValueError: if POT is not installed.
    """

    permutes = False

    def __init__(self, regularization: float = 0.05, iterations: int = 1000) -> None:
        if not 0 < regularization < math.inf:
            raise ValueError(f"sinkhorn needs a positive regularization, not {regularization}")
        if iterations < 1:
            raise ValueError(f"sinkhorn needs at least 1 iteration, not {iterations}")
        self.regularization = regularization
        self.iterations = iterations
        try:  # now, and not in the first step of a training run
            import ot  # noqa: F401
        except ImportError:
            raise ValueError(
                "the coupling 'sinkhorn' needs POT, which is not installed: pip install 'flowguide[ot]'"
            ) from None

    def assign(self, data: Tensor, source: Tensor, cond: Tensor | None, generator: torch.Generator | None) -> Tensor:
        return torch.multinomial(self.plan(data, source).to(data.device), 1, generator=generator)[:, 0]

    def plan(self, data: Tensor, source: Tensor) -> Tensor:
        """The transport plan, float64 on the CPU, shape (B, B), its rows and columns summing to about 1 / B.

        Raises:
            ValueError: if a pair has no finite cost.
        """
        import ot

        costs = squared_distances(data, source)
        check_finite(costs)
        costs = costs.cpu().double()
        mean = costs.mean()
        if mean == 0:  # every pair is as good as every other
            return torch.full_like(costs, 1 / len(costs) ** 2)
        uniform = torch.full((len(costs),), 1 / len(costs), dtype=torch.float64)
        return ot.sinkhorn(
            uniform,
            uniform,
            costs / mean,
            self.regularization,
            method="sinkhorn_log",
            numItermax=self.iterations,
            stopThr=1e-6,  # of sums that are 1 / B: what is drawn from them is far noisier
        )
