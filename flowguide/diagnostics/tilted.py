r"""The tilted density: what guidance is meant to sample.

.. math:: \tilde p(x) = \frac1Z\, p(x \mid y)^w\, p(x)^{1 - w} = \frac{1}{Z'}\, p(x)\, p(y \mid x)^w,

for an exact mixture at any time of a path; the first form holds for any two laws, of autoguidance too. In up to two
dimensions everything is computed on a grid. In more, samples are importance samples of p(x | y) with weights
:math:`(p(x \mid y) / p(x))^{w - 1}`, or for w < 1 of p(x) with :math:`(p(x \mid y) / p(x))^w`; where p is the
mixture's own, :math:`p(x \mid y) \le p(x) / p(y)` bounds them by :math:`p(y)^{-(w - 1)}` and, for w >= 0,
:math:`p(y)^{-w}`. For w < 0 nothing does. The effective sample size says what they are worth.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..fields import GaussianMixture
from ..randomness import derive, normal, uniform

_COARSE, _FINE = 160, 400  # cells along a side: to find where the density is, and to describe it
_NEGLIGIBLE = 1e-9  # of the largest density


class Draws(NamedTuple):
    """Samples, shape (N, D), and the effective size of what they were drawn from."""

    x: Tensor
    effective: float


@dataclass(frozen=True)
class Cells:
    """A grid over the density in 1 or 2 dimensions, float64: cells of a side ``step``, shape (D,)."""

    centres: Tensor  # (N, D)
    log_density: Tensor  # (N,), not normalised
    step: Tensor

    @property
    def log_normaliser(self) -> float:
        return float(self.log_density.logsumexp(0) + self.step.log().sum())

    @property
    def probabilities(self) -> Tensor:
        return self.log_density.softmax(0)


class TiltedMixture:
    """p(x | y)^w p(x)^(1 - w), normalised, of an exact mixture.

    Args:
        mixture: The law of the data, with labels.
        w: The weight: 0 is p(x), 1 is p(x | y).
        reference: The law that guidance leads away from; None: the mixture without a label.
        alpha, sigma: The scales of the path's time; 1 and 0 are the data themselves.
    """

    def __init__(
        self,
        mixture: GaussianMixture,
        w: float,
        reference: GaussianMixture | None = None,
        *,
        alpha: float = 1.0,
        sigma: float = 0.0,
    ) -> None:
        if reference is not None and reference.dim != mixture.dim:
            raise ValueError(f"the reference has {reference.dim} dimensions and the mixture {mixture.dim}")
        self.mixture, self.w, self.reference = mixture, float(w), mixture if reference is None else reference
        self.scales = {"alpha": float(alpha), "sigma": float(sigma)}
        self._cells: dict[int | None, Cells] = {}

    @property
    def dim(self) -> int:
        return self.mixture.dim

    def log_density(self, x: Tensor, label: int | None) -> Tensor:
        """w log p(x | y) + (1 - w) log p(x), shape (B,), in nats: short of :meth:`log_normaliser`."""
        plain = self.reference.log_prob(x, **self.scales)
        return plain if label is None else plain + self.w * self.log_ratio(x, label)

    def log_ratio(self, x: Tensor, label: int) -> Tensor:
        """log p(x | y) - log p(x), shape (B,)."""
        cond = torch.full((len(x),), label, device=x.device)
        return self.mixture.log_prob(x, cond, **self.scales) - self.reference.log_prob(x, **self.scales)

    def log_normaliser(self, label: int | None, *, count: int = 100_000, seed: int = 0) -> float:
        """log of the integral of :meth:`log_density`: on a grid in 1 and 2 dimensions, else from ``count`` samples."""
        if self.dim <= 2:
            return self.cells(label).log_normaliser
        weights = self._proposals(count, label, seed)[1]
        return float(weights.logsumexp(0)) - torch.tensor(float(count)).log().item()

    def log_prob(self, x: Tensor, label: int | None) -> Tensor:
        """The logarithm of the normalised density, shape (B,)."""
        return self.log_density(x, label) - self.log_normaliser(label)

    def moments(self, label: int | None, *, count: int = 100_000, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Mean, shape (D,), and covariance, shape (D, D), float64."""
        if self.dim <= 2:
            cells = self.cells(label)
            x, shares = cells.centres, cells.probabilities
        else:
            x, weights = self._proposals(count, label, seed)
            shares = weights.softmax(0)
        mean = shares @ x
        return mean, (x - mean).T @ (shares[:, None] * (x - mean))

    def sample(self, count: int, label: int | None, seed: int = 0, *, pool: int = 20) -> Draws:
        """Draw from the grid in 1 and 2 dimensions; else resample ``pool * count`` importance samples.

        A sample of the grid depends on the seed and its index; one of the pool on ``count`` and ``pool`` as well.
        """
        options = {"dtype": torch.float64}
        if self.dim <= 2:
            cells = self.cells(label)
            u = uniform((count, self.dim + 1), seed, **options)
            steps = cells.probabilities.cumsum(0)
            index = torch.searchsorted(steps / steps[-1], u[:, 0].contiguous()).clamp(max=len(steps) - 1)
            return Draws(cells.centres[index] + (u[:, 1:] - 0.5) * cells.step, float(count))
        x, weights = self._proposals(pool * count, label, seed)
        shares = weights.softmax(0)
        # Systematic: a sample is drawn as often as its weight says, to within one, and then they are shuffled.
        start, order = uniform((1,), derive(seed, 1), **options), uniform((count,), derive(seed, 2), **options)
        places = (torch.arange(count, dtype=torch.float64) + start) / count
        index = torch.searchsorted(shares.cumsum(0), places).clamp(max=len(x) - 1)
        return Draws(x[index][order.argsort()], float(1 / shares.square().sum()))

    def cells(self, label: int | None) -> Cells:
        """The density on a grid that holds all but a negligible part of it.

        Raises:
            ValueError: in more than two dimensions.
        """
        if self.dim > 2:
            raise ValueError(f"a grid holds a density of 1 or 2 dimensions, not of {self.dim}")
        if label not in self._cells:
            low, high = self._extent()
            coarse = self._grid(low, high, _COARSE, label)
            there = coarse.centres[coarse.log_density > coarse.log_density.max() + torch.tensor(_NEGLIGIBLE).log()]
            low, high = there.amin(0) - 1.5 * coarse.step, there.amax(0) + 1.5 * coarse.step
            self._cells[label] = self._grid(low, high, _FINE, label)
        return self._cells[label]

    def _extent(self) -> tuple[Tensor, Tensor]:
        """Where there may be anything at all: eight standard deviations around all components, in float64."""
        lows, highs = [], []
        for law in (self.mixture, self.reference):
            parts, alpha, sigma = law._exact, self.scales["alpha"], self.scales["sigma"]
            spread = (alpha**2 * parts.eigenvalues.amax(1, keepdim=True) + sigma**2).sqrt()
            lows.append((alpha * parts.means - 8 * spread).amin(0))
            highs.append((alpha * parts.means + 8 * spread).amax(0))
        return torch.minimum(*lows).cpu(), torch.maximum(*highs).cpu()

    def _grid(self, low: Tensor, high: Tensor, count: int, label: int | None) -> Cells:
        step = (high - low) / count
        middles = torch.arange(count, dtype=torch.float64) + 0.5
        axes = [start + middles * width for start, width in zip(low, step, strict=True)]
        centres = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, self.dim)
        return Cells(centres, self.log_density(centres, label), step)

    def _proposals(self, count: int, label: int | None, seed: int) -> tuple[Tensor, Tensor]:
        """Samples of p(x | y), or of p(x) for w < 1, and the logarithms of their weights."""
        conditional = label is not None and self.w >= 1
        law = self.mixture if conditional else self.reference
        cond = torch.full((count,), label) if conditional else None
        data, _ = law.sample(count, seed, cond=cond, dtype=torch.float64)
        noise = normal(data.shape, derive(seed, 3), dtype=torch.float64)
        x = self.scales["alpha"] * data + self.scales["sigma"] * noise
        if label is None:
            return x, x.new_zeros(count)
        return x, (self.w - 1 if conditional else self.w) * self.log_ratio(x, label)
