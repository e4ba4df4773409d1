r"""Exact labelled Gaussian mixtures: the ground truth that every component is tested against.

Data :math:`z` come from component k with weight :math:`\pi_k`, mean :math:`m_k` and covariance
:math:`S_k = Q_k \Lambda_k Q_k^\top`; the label is a function of the component. The state
:math:`x = \alpha z + \sigma \varepsilon` is again a mixture, with means :math:`\alpha m_k` and covariances
:math:`\alpha^2 S_k + \sigma^2 I`, so that with :math:`y_k = Q_k^\top (x - \alpha m_k)` and
:math:`V_k = \alpha^2 \Lambda_k + \sigma^2`

.. math::
    \log p(x, k) &= \log \pi_k - \tfrac12 \sum_i \left[ y_{ki}^2 / V_{ki} + \log 2\pi V_{ki} \right], \\
    \nabla \log p(x) &= -\sum_k p(k \mid x)\, Q_k V_k^{-1} y_k, \\
    E[z \mid x] &= \sum_k p(k \mid x) \left[ m_k + \alpha\, Q_k \Lambda_k V_k^{-1} y_k \right].

Nothing is divided by alpha or sigma: all are exact at both ends of a path. A condition restricts the sum to the
components with that label.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from ..observations import Observation
from ..randomness import normal, uniform
from .arguments import check_rows, check_states
from .base import check_labels
from .mixture_parts import Parts, parts_of

Scale = Tensor | float


class GaussianMixture:
    """K labelled Gaussians in D dimensions, seen through :math:`x = \\alpha z + \\sigma \\varepsilon`.

    Args:
        weights: Shape (K,), positive; normalised here. All may be nested lists as well.
        means: Shape (K, D).
        covariances: Shape (K, D, D), symmetric positive definite.
        labels: Shape (K,), integers from 0; several components may share one.
    Raises:
        ValueError: if shapes disagree, a number is not finite, or a weight or covariance is not positive.

    It answers in the dtype and on the device of the states that it is asked about, from parameters kept in float64.
    Everywhere below ``alpha`` and ``sigma`` are numbers or tensors that broadcast against (B, D) (the data
    themselves: 1 and 0), and ``cond`` holds labels, shape (B,); None, or the label ``num_classes``, means any.
    """

    def __init__(
        self,
        weights: Tensor | Sequence,
        means: Tensor | Sequence,
        covariances: Tensor | Sequence,
        labels: Tensor | Sequence | None = None,
    ) -> None:
        self._exact, self.labels = parts_of(weights, means, covariances, labels)
        self.num_classes = len(self._exact.log_weights) - 1
        self._cast: dict[tuple[torch.dtype, torch.device], Parts] = {}

    @property
    def dim(self) -> int:
        """D."""
        return self._exact.means.shape[1]

    def sample(
        self,
        count: int,
        seed: int = 0,
        *,
        cond: Tensor | None = None,
        first: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Draw data and their labels.

        Args:
            count: How many.
            seed: Sample ``first + i`` of a seed is the same in every batch.
            cond: Labels to condition on, shape (count,).
        Returns:
            (data, labels), shapes (count, D) and (count,).
        Raises:
            ValueError: if count is no number of samples, or there is not one label for each.
        """
        if not hasattr(count, "__index__") or count < 0:
            raise ValueError(f"count is how many samples to draw, an integer from 0, not {count!r:.80}")
        noise = normal((count, self.dim), seed, stream=1, first=first, device=device, dtype=dtype)
        parts = self._parts_for(noise)
        # In float64, u < 1 and the last threshold is 1: a component of weight zero is never drawn.
        u = uniform((count, 1), seed, stream=0, first=first, device=device, dtype=torch.float64)
        thresholds = self._log_weights_of(parts, cond, count).double().exp().cumsum(1)
        component = (thresholds / thresholds[:, -1:] <= u).sum(1)
        root = parts.eigenvectors * parts.eigenvalues.sqrt()[:, None, :]
        data = parts.means[component] + (root[component] @ noise[..., None])[..., 0]
        return data, self.labels.to(data.device)[component]

    def log_prob(self, x: Tensor, cond: Tensor | None = None, *, alpha: Scale = 1.0, sigma: Scale = 0.0) -> Tensor:
        """log p(x | cond) in nats, shape (B,), of states x, shape (B, D)."""
        parts, y, variance = self._whiten(x, alpha, sigma)
        return self._log_joint(parts, y, variance, cond).logsumexp(1)

    def score(self, x: Tensor, cond: Tensor | None = None, *, alpha: Scale = 1.0, sigma: Scale = 0.0) -> Tensor:
        """The gradient of :meth:`log_prob`, shape (B, D)."""
        return self.score_and_data(x, cond, alpha=alpha, sigma=sigma)[0]

    def posterior(self, x: Tensor, *, alpha: Scale = 1.0, sigma: Scale = 0.0) -> Tensor:
        """p(y | x) for every label y, shape (B, num_classes)."""
        parts, y, variance = self._whiten(x, alpha, sigma)
        return self._log_joint(parts, y, variance, None).softmax(1) @ _of_label(parts).mT.to(x)

    def log_posterior(self, x: Tensor, *, alpha: Scale = 1.0, sigma: Scale = 0.0) -> Tensor:
        """log p(y | x) for every label y, shape (B, num_classes), finite where p(y | x) is too small for a number."""
        parts, y, variance = self._whiten(x, alpha, sigma)
        shares = self._log_joint(parts, y, variance, None).log_softmax(1)
        return shares[:, None].masked_fill(~_of_label(parts), -math.inf).logsumexp(2)

    def score_and_data(
        self, x: Tensor, cond: Tensor | None = None, *, alpha: Scale = 1.0, sigma: Scale = 0.0
    ) -> tuple[Tensor, Tensor]:
        """The score and the posterior mean of the data, E[z | x, cond], each of shape (B, D)."""
        parts, y, variance = self._whiten(x, alpha, sigma)
        share = self._log_joint(parts, y, variance, cond).softmax(1)
        weighted = share[..., None] * y / variance
        score = -torch.einsum("kij,bkj->bi", parts.eigenvectors, weighted)
        shrunk = torch.einsum("kij,bkj->bi", parts.eigenvectors, parts.eigenvalues * weighted)
        return score, share @ parts.means + alpha * shrunk

    def condition_on(self, observation: Observation, observed: Tensor) -> "GaussianMixture":
        r"""The law of the data given what is seen of them, :math:`y = A z + s n`: a mixture again.

        .. math::
            G_k = S_k A^\top (A S_k A^\top + s^2 I)^{-1}, \quad
            m_k \to m_k + G_k (y - A m_k), \quad S_k \to (I - G_k A) S_k, \quad
            \pi_k \to \pi_k N(y; A m_k, A S_k A^\top + s^2 I).

        Args:
            observation: A and s > 0.
            observed: y, of the shape of one observation.
        Raises:
            ValueError: if shapes do not fit, or s = 0, where the posterior has no density.
        """
        if not observation.std > 0:
            raise ValueError("without noise the posterior has no density: give the observation std > 0")
        expected = observation.observed_shape((self.dim,))
        if tuple(observed.shape) != expected:
            raise ValueError(f"observed must have the shape {expected}, not {tuple(observed.shape)}")
        parts = self._exact
        device = parts.means.device
        matrix, y = (each.to(device, torch.float64) for each in (observation.matrix((self.dim,)), observed.flatten()))
        root = parts.eigenvectors * parts.eigenvalues.sqrt()[:, None, :]  # S = root root^T
        seen = matrix @ root
        noise = observation.std**2 * torch.eye(len(y), dtype=torch.float64, device=device)
        of_y = torch.distributions.MultivariateNormal(parts.means @ matrix.T, seen @ seen.mT + noise)
        # (I - G A) S = root (I + seen^T seen / s^2)^{-1} root^T, which stays positive definite in rounding.
        inner = torch.eye(self.dim, dtype=torch.float64, device=device) + seen.mT @ seen / observation.std**2
        covariances = root @ torch.linalg.solve(inner, root.mT)
        gain = covariances @ matrix.T / observation.std**2
        log_weights = parts.log_weights[-1] + of_y.log_prob(y)
        return GaussianMixture(
            # A component of no weight would take its label with it.
            weights=(log_weights - log_weights.max()).exp().clamp(min=torch.finfo(torch.float64).tiny),
            means=parts.means + (gain @ (y - parts.means @ matrix.T)[..., None])[..., 0],
            covariances=(covariances + covariances.mT) / 2,
            labels=self.labels,
        )

    def _whiten(self, x: Tensor, alpha: Scale, sigma: Scale) -> tuple[Parts, Tensor, Tensor]:
        """The parts, y of shape (B, K, D) and V of shape (B or 1, K, D) of the formulas above."""
        if x.ndim != 2 or x.shape[1] != self.dim:
            raise ValueError(f"states of this mixture have shape (B, {self.dim}), not {tuple(x.shape)}")
        check_states(x)
        parts = self._parts_for(x)
        alpha, sigma = (torch.as_tensor(s, dtype=x.dtype, device=x.device).reshape(-1, 1, 1) for s in (alpha, sigma))
        variance = alpha**2 * parts.eigenvalues + sigma**2
        y = torch.einsum("kji,bkj->bki", parts.eigenvectors, x[:, None] - alpha * parts.means)
        return parts, y, variance

    def _log_joint(self, parts: Parts, y: Tensor, variance: Tensor, cond: Tensor | None) -> Tensor:
        """log p(x, k | cond), shape (B, K)."""
        gaussian = -0.5 * (y**2 / variance + torch.log(2 * math.pi * variance)).sum(2)
        return self._log_weights_of(parts, cond, len(y)) + gaussian

    def _log_weights_of(self, parts: Parts, cond: Tensor | None, batch: int) -> Tensor:
        """log p(k | cond), shape (B, K)."""
        if cond is None:
            return parts.log_weights[-1].expand(batch, -1)
        check_rows(cond, batch)
        if cond.ndim != 1:
            check_labels(cond, self.num_classes)
        try:
            return functional.embedding(cond, parts.log_weights)
        except (IndexError, RuntimeError):
            check_labels(cond, self.num_classes)
            raise

    def _parts_for(self, x: Tensor) -> Parts:
        key = (x.dtype, x.device)
        if key not in self._cast:
            # Kept, and so not to be of torch.inference_mode, where it can never be differentiated.
            with torch.inference_mode(False):
                self._cast[key] = Parts(*(part.to(x, copy=part.is_inference()) for part in self._exact))
        return self._cast[key]


def _of_label(parts: Parts) -> Tensor:
    """Which components have each label, shape (num_classes, K): those that it leaves a weight."""
    return parts.log_weights[:-1].isfinite()


def ring(
    components: int, radius: float = 2.0, std: float = 0.2, labels: Sequence[int] | None = None
) -> GaussianMixture:
    """Equal round Gaussians on a circle, a label each unless told otherwise: the usual first toy."""
    if not hasattr(components, "__index__") or components < 1:
        raise ValueError(f"a ring has 1 component or more, not {components!r:.80}")
    angle = torch.arange(components, dtype=torch.float64) * (2 * math.pi / components)
    return GaussianMixture(
        weights=torch.ones(components),
        means=radius * torch.stack([angle.cos(), angle.sin()], dim=1),
        covariances=torch.eye(2, dtype=torch.float64).expand(components, 2, 2) * std**2,
        labels=labels,
    )
