r"""Optimal transport that leaves the source independent of the condition.

The source sample drawn with a data sample inherits its condition y. Moving it to data of another condition costs extra:

.. math:: \pi = \arg\min_\pi \sum_i \|z_i - \varepsilon_{\pi(i)}\|^2 + w\, d(y_i, y_{\pi(i)}).

For labels w is infinite: every label keeps the source samples that were drawn with it, which are a fair draw, and
transport is optimal among them. For continuous conditions no two samples agree, and w balances the two costs. Unless it
is given it is found anew for each batch, such that a share ``ratio`` of all pairs (i, j) costs no more than (i, i), the
pair that was drawn:

.. math:: C_{ij} + w\, d_{ij} \le C_{ii} \iff w \le (C_{ii} - C_{ij}) / d_{ij},

so that w is a quantile of the right-hand sides, and no search is needed. Without the condition the share is about one
half. Of continuous conditions the source becomes less dependent than by ``ot``, and not independent.

Source: Cheng & Schwing (2025), arXiv 2503.10636.
"""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from ..devices import sent
from .base import Coupling, couplings
from .costs import assignment, check_finite, inner_products, squared_distances


@couplings.register("conditional_ot")
class ConditionalOptimalTransport(Coupling):
    """Optimal transport that keeps source and condition independent (C2OT): within each label, or by a weighted cost.

    Integer conditions of shape (B,) are labels. The options are for continuous conditions; without conditions it is
    ``ot``.

    Args:
        ratio: Share of the pairs that the weight is to leave no more costly than the pair drawn, in (0, 1]; less is
            closer to independence. 0.2 is what the authors' code has for ImageNet with captions.
        weight: Of the conditions' distance, at least 0; None to find it from ``ratio``.
        distance: Of conditions: "cosine", 1 - cos(y, y'), for embeddings; "squared", for conditions of few numbers.
    """

    def __init__(
        self, ratio: float = 0.2, weight: float | None = None, distance: Literal["cosine", "squared"] = "cosine"
    ) -> None:
        if not 0 < ratio <= 1:
            raise ValueError(f"conditional_ot needs a ratio in (0, 1], not {ratio}")
        if weight is not None and not 0 <= weight < math.inf:
            raise ValueError(f"conditional_ot needs a weight of at least 0, or null to find one, not {weight}")
        self.ratio = ratio
        self.weight = weight
        self.distance = distance

    def assign(self, data: Tensor, source: Tensor, cond: Tensor | None, generator: torch.Generator | None) -> Tensor:
        if cond is None:
            return assignment(inner_products(data, source))
        if cond.ndim == 1 and not cond.is_floating_point():
            return within_labels(inner_products(data, source), cond)
        costs, distances = squared_distances(data, source), self._distances(cond)
        weight = adaptive_weight(costs, distances, self.ratio) if self.weight is None else self.weight
        return assignment(-(costs + weight * distances))

    def _distances(self, cond: Tensor) -> Tensor:
        if self.distance == "squared":
            return squared_distances(cond, cond)
        directions = functional.normalize(cond.flatten(1).double(), dim=1)
        return (1 - inner_products(directions, directions)).clamp(min=0)


def within_labels(gains: Tensor, labels: Tensor) -> Tensor:
    """The permutation of greatest total gain, shape (B,), among those that keep each sample within its label."""
    device, gains, labels = gains.device, gains.cpu(), labels.cpu()
    check_finite(gains)
    chosen = torch.arange(len(labels))
    for label in labels.unique():
        members = (labels == label).nonzero()[:, 0]
        chosen[members] = members[assignment(gains[members][:, members])]
    return sent(chosen, device)


def adaptive_weight(costs: Tensor, distances: Tensor, ratio: float) -> float:
    """The greatest weight of ``distances`` that leaves a share of pairs no more costly than the diagonal of their row.

    Args:
        costs, distances: Shape (B, B), distances at least 0 and 0 on the diagonal.
        ratio: The share, in (0, 1].
    Returns:
        The weight; 0 if already without the conditions fewer pairs are as cheap. Where pairs of equal conditions make
        up the share by themselves, no weight is too great: then the one beyond which none but they are as cheap.
    """
    spare = costs.diagonal()[:, None] - costs
    # A pair of equal conditions pays nothing: it stays cheap at any weight if it is cheap at all.
    bearable = torch.where(distances > 0, spare / distances, torch.where(spare >= 0, math.inf, -math.inf)).flatten()
    count = max(1, math.floor(ratio * len(bearable)))
    weight = float(bearable.kthvalue(len(bearable) - count + 1).values)
    if weight == math.inf:
        finite = bearable[bearable.isfinite()]
        weight = float(finite.max()) if len(finite) else 0.0
    return max(0.0, weight)
