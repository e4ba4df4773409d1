r"""Frechet distance between Gaussians fitted to features.

.. math:: |\mu - \mu'|^2 + \mathrm{tr}\left(\Sigma + \Sigma' - 2 (\Sigma \Sigma')^{1/2}\right)

With a root of each covariance, :math:`\Sigma = R R^T` by its eigenvalues, the last trace is the sum of the singular
values of :math:`R^T R'`: symmetric and in float64, and it takes no square root of a rounding error, of which the
product of two singular covariances is full. Eigenvalues below rounding are none; how many remain is the rank.

With fewer samples than features a covariance is singular and the distance mostly says how many samples there are;
a warning says so. With a classifier's features on its own data set this is not the FID of the literature, which uses
those of an Inception network.

Source: Heusel et al. (2017), arXiv 1706.08500, Eq. 6.
"""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from .base import Metric, Seen, metrics


@dataclass(frozen=True)
class Gaussian:
    """A Gaussian fitted to features.

    Attributes:
        mean: Shape (F,).
        root: Shape (F, rank); the covariance is ``root @ root.T``.
        trace: Of the covariance.
    """

    mean: Tensor
    root: Tensor
    trace: Tensor

    @classmethod
    def of(cls, features: Tensor) -> "Gaussian":
        """Fit, in float64, with the unbiased covariance; features have shape (N, F), N at least 2."""
        if len(features) < 2:
            raise ValueError(f"a Frechet distance needs at least 2 samples on each side, not {len(features)}")
        if not features.isfinite().all():
            raise ValueError("a Frechet distance needs finite features, and some are infinite or NaN")
        centred = features.double() - (mean := features.double().mean(0))
        values, vectors = torch.linalg.eigh(centred.T @ centred / (len(features) - 1))
        kept = values > values[-1] * max(features.shape) * torch.finfo(torch.float64).eps
        return cls(mean, vectors[:, kept] * values[kept].sqrt(), values[kept].sum())

    @property
    def rank(self) -> int:
        """Of the covariance."""
        return self.root.shape[1]

    def distance(self, other: "Gaussian") -> float:
        """The Frechet distance, in squared units of the features."""
        shared = torch.linalg.svdvals(self.root.T @ other.root).sum()
        squared = (self.mean - other.mean).square().sum() + self.trace + other.trace - 2 * shared
        return max(0.0, float(squared))  # below zero by rounding only


@metrics.register("frechet_distance")
class FrechetDistance(Metric):
    """Frechet distance to the features of the training data; lower is better."""

    title = "Fréchet distance"
    better = "lower"

    def __call__(self, samples: Seen, reference: Seen) -> float:
        self.check(samples, reference)
        ours, theirs = (Gaussian.of(seen.features) for seen in (samples, reference))
        for seen, fitted, what in ((samples, ours, "samples"), (reference, theirs, "reference samples")):
            warn_of_rank(len(seen), seen.features.shape[1], fitted.rank, what)
        return ours.distance(theirs)


def warn_of_rank(count: int, features: int, rank: int, what: str) -> None:
    """Warn if there are too few samples for a covariance of full rank."""
    if count <= features:
        warnings.warn(
            f"{count} {what} in {features} features: their covariance has rank {rank} of {features}, and the Frechet "
            f"distance depends on their number more than on their quality; take more than {features}",
            stacklevel=3,
        )
