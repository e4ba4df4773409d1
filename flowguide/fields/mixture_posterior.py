"""The exact classifier of a Gaussian mixture's noisy states: what a perfect one would say."""

from torch import Tensor

from ..paths import Path
from .oracle import GaussianMixture
from .posterior import Posterior


class MixturePosterior(Posterior):
    """The labels of an exact mixture on a path, with the interface of a trained classifier.

    Args:
        mixture: The law of the data.
        path: The path.
    """

    def __init__(self, mixture: GaussianMixture, path: Path) -> None:
        super().__init__()
        self.mixture = mixture
        self.path = path
        self.num_classes = mixture.num_classes

    def log_probs(self, scaled: Tensor, t: Tensor) -> Tensor:
        c = self.path.at(t, scaled)
        return self.mixture.log_posterior(scaled, alpha=c.alpha, sigma=c.sigma)
