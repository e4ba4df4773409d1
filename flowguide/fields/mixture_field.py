"""The exact field of a Gaussian mixture: what a perfect network would predict."""

import torch
from torch import Tensor

from ..paths import Coefficients, Path, Prediction
from .arguments import time_of
from .base import Field
from .oracle import GaussianMixture


class MixtureField(Field):
    """An exact mixture on a path, with the interface of a trained network.

    Args:
        mixture: The law of the data.
        path: The path.
    """

    def __init__(self, mixture: GaussianMixture, path: Path) -> None:
        super().__init__()
        self.mixture = mixture
        self.path = path
        self.num_classes = mixture.num_classes
        self.shape = (mixture.dim,)

    def null(self, batch: int) -> Tensor:
        return torch.full((batch,), self.mixture.num_classes)

    def predict(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Prediction:
        c = self.path.at(t, x)
        score, data = self.mixture.score_and_data(x, cond, alpha=c.alpha, sigma=c.sigma)
        return Prediction(c, x, score=score, data=data)

    def log_prob(self, x: Tensor, t: Tensor | float, cond: Tensor | None = None) -> Tensor:
        """log p_t(x | cond) in nats, shape (B,)."""
        c = self._at(x, t)
        return self.mixture.log_prob(x, cond, alpha=c.alpha, sigma=c.sigma)

    def posterior(self, x: Tensor, t: Tensor | float) -> Tensor:
        """p_t(y | x) for every label, shape (B, num_classes)."""
        c = self._at(x, t)
        return self.mixture.posterior(x, alpha=c.alpha, sigma=c.sigma)

    def _at(self, x: Tensor, t: Tensor | float) -> Coefficients:
        return self.path.at(time_of(t, x), x)
