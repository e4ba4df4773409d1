r"""Memorisation: whether samples lie nearer to the training data than other real data do.

With d(x) the distance of x from its nearest training datum,

.. math:: P\left( d(x) < d(x') \right) + \tfrac12 P\left( d(x) = d(x') \right)

over all pairs of a sample x and a real datum x' that is not among the training data. It is one half for a model that
draws from the law of the data, and for held-out data themselves; towards 1 for one that repeats what it was trained on;
and lower for samples that are far from all data, which is no virtue: read it beside precision.

This is the statistic U of Mann and Whitney over the number of pairs, on which the C_T score is built. That score takes
it cell by cell and as a z-score, which grows with the number of samples; this one does not.

Source: Meehan, Chaudhuri & Dasgupta (2020), arXiv 2004.05675.
"""

import torch

from ..distances import nearest
from .base import Metric, Seen, metrics


@metrics.register("memorisation")
class Memorisation(Metric):
    """Chance that a sample is nearer to the training data than a held-out datum is: 0.5 is none, 1 are copies."""

    title = "memorisation"
    better = "lower"

    def __call__(self, samples: Seen, reference: Seen) -> float:
        self.check(samples, reference)
        if reference.held_out is None:
            raise ValueError("memorisation needs real data that are not among the training data: reference.held_out")
        others, _ = nearest(reference.held_out.features, reference.features).sort()
        mine = nearest(samples.features, reference.features)
        above = len(others) - torch.searchsorted(others, mine, right=True)
        equal = len(others) - torch.searchsorted(others, mine) - above
        return float((above + 0.5 * equal).double().mean() / len(others))
