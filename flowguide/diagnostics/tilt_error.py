r"""Distance of a guided sampler's samples from the tilted density :math:`p(x)\, p(y \mid x)^w / Z`.

Sliced Wasserstein, the headline, compares the samples with the target along random directions :math:`\theta`,

.. math:: \mathrm{SW}^2 = E_\theta \int_0^1 \left( F_\theta^{-1}(q) - \tilde F_\theta^{-1}(q) \right)^2 dq,

and is in data units. Beside it stand the differences of mean and covariance; the squared maximum mean discrepancy,

.. math:: \mathrm{MMD}^2 = E\, k(x, x') + E\, k(\tilde x, \tilde x') - 2 E\, k(x, \tilde x), \qquad
    k(x, x') = \exp\left( -\tfrac12 |x - x'|^2 / h^2 \right), \quad h^2 = \mathrm{tr}\, \mathrm{Cov}_{\tilde p},

without bias, so that it may be negative; and in the plane the divergence :math:`\mathrm{KL}(q \| \tilde p)` of the
shares q of the samples in the cells of a grid. Finite samples of the target itself are not at distance 0:
``floor`` and ``kl_floor`` are what as many of those have. What guidance draws is not the tilted density, even with
exact scores: ``fokker_planck`` says why, and this by how much.

Sources: Bonneel et al. (2015), J. Math. Imaging Vis. 51 (sliced Wasserstein); Gretton et al. (2012), JMLR 13 (MMD).
"""

import math

import torch
from torch import Tensor

from ..distances import gaussian, mmd2, sliced
from ..fields import Field, GaussianMixture
from ..randomness import derive, normal
from .base import Diagnostic, Finding, at_least, beneath, diagnostics
from .tilted import TiltedMixture

_GROUPS = 8  # of the samples, left out one after the other for the standard error


@diagnostics.register("tilt_error")
class TiltError(Diagnostic):
    """Distance of samples from the tilted density of an exact mixture: sliced Wasserstein, MMD, moments, KL.

    The states are samples at time t of a sampler that was guided towards ``cond``; their target is
    p_t(x) p_t(y | x)^w / Z. The field is only asked for its path, and for what is not given here. Samples of different
    labels are compared label by label, and the numbers averaged.

    Args:
        mixture: The law of the data; None: that of the exact field beneath all rules.
        w: The weight of the target; None: the field's own (:attr:`.Field.power`), if it states one.
        reference: The law that guidance leads away from; None: the mixture without a label.
        projections: Random directions.
        draws: Samples of the target for each that is compared.
        cells: Along a side of the grid of the KL divergence.
        most: Samples of either side that enter the MMD, whose cost is quadratic in them.
        seed: Of the target's samples and of the directions.

    The parts are averages over labels (``floor``, ``mmd2``, ``kl``, ``kl_floor``, ``mean_error`` and
    ``covariance_error``, norms of differences, and ``effective``, the effective sample size of the target), and by
    label ``mean``, ``covariance``, ``target_mean``, ``target_covariance``. Per sample: log of the target's density,
    short of Z.
    """

    title, unit = "distance from the tilted density", "data units"

    def __init__(
        self,
        mixture: GaussianMixture | None = None,
        w: float | None = None,
        reference: GaussianMixture | None = None,
        projections: int = 64,
        draws: int = 4,
        cells: int = 24,
        most: int = 1000,
        seed: int = 0,
    ) -> None:
        self.mixture, self.w, self.reference, self.seed = mixture, w, reference, seed
        self.projections, self.draws = at_least("projections", projections, 1), at_least("draws", draws, 1)
        self.cells, self.most = at_least("cells", cells, 2), at_least("most", most, 2)

    def measure(self, field: Field, x: Tensor, t: Tensor, cond: Tensor | None, first: int) -> Finding:
        target = self.target(field, x, t)
        labels = [None] if cond is None else cond.unique().tolist()
        per_sample, found, shares = x.new_zeros(len(x)).double(), [], []
        for label in labels:
            rows = torch.full((len(x),), True) if label is None else (cond == label).cpu()
            label = None if label == target.mixture.num_classes else label
            mine = x.detach().double().cpu()[rows]
            per_sample[rows.to(x.device)] = target.log_density(mine, label).to(x.device)
            found.append(self.compare(mine, target, label))
            shares.append(len(mine) / len(x))
        numbers = [key for key, value in found[0].items() if isinstance(value, float)]
        parts = {key: sum(share * one[key] for share, one in zip(shares, found, strict=True)) for key in numbers}
        parts |= {key: torch.stack([one[key] for one in found]) for key in found[0] if key not in numbers}
        parts["labels"] = labels
        error = math.sqrt(sum((share * one["error"]) ** 2 for share, one in zip(shares, found, strict=True)))
        del parts["error"]
        return Finding(parts.pop("sliced"), error, per_sample.to(x), parts)

    def target(self, field: Field, x: Tensor, t: Tensor) -> TiltedMixture:
        """The tilted density at time t that the samples are compared with."""
        mixture = getattr(beneath(field), "mixture", None) if self.mixture is None else self.mixture
        if mixture is None:
            raise ValueError(
                f"tilt_error needs the law of the data: an exact field, or mixture, a GaussianMixture; "
                f"{type(beneath(field)).__name__} has none"
            )
        if tuple(x.shape[1:]) != (mixture.dim,):
            raise ValueError(f"the target has samples of shape (B, {mixture.dim}), not {tuple(x.shape)}")
        if t.ndim and not bool((t == t[0]).all()):
            raise ValueError(f"tilt_error compares samples of one time: got times from {t.min():.4g} to {t.max():.4g}")
        w = field.power if self.w is None else self.w
        if w is None:
            raise ValueError(
                "the field states no power of p(y | x) that it is to sample, as rules whose weight changes, or which "
                "mean another density, do not: give w, that of the target"
            )
        c = field.path.at((t[0] if t.ndim else t).double().cpu(), x)
        return TiltedMixture(mixture, w, self.reference, alpha=float(c.alpha), sigma=float(c.sigma))

    def compare(self, x: Tensor, target: TiltedMixture, label: int | None) -> dict[str, float | Tensor]:
        """All distances of samples, shape (N, D), from the target of one label."""
        drawn = target.sample(self.draws * len(x), label, derive(self.seed, 0))
        fresh = target.sample(len(x), label, derive(self.seed, 1)).x
        target_mean, target_covariance = target.moments(label, seed=derive(self.seed, 2))
        mean, covariance = x.mean(0), torch.cov(x.T, correction=0).reshape(x.shape[1], x.shape[1])
        directions = normal((self.projections, x.shape[1]), derive(self.seed, 3), dtype=torch.float64)
        directions = directions / directions.norm(dim=1, keepdim=True)
        mine, theirs, others = (points @ directions.T for points in (x, drawn.x, fresh))
        found = {
            "sliced": sliced(mine, theirs),
            "error": jackknife(mine, theirs, self.draws),
            "floor": sliced(others, theirs),
            "mmd2": mmd2(x[: self.most], drawn.x[: self.most], gaussian(float(target_covariance.trace())))[0],
            "mean_error": float((mean - target_mean).norm()),
            "covariance_error": float((covariance - target_covariance).norm()),
            "effective": drawn.effective,
            "mean": mean,
            "covariance": covariance,
            "target_mean": target_mean,
            "target_covariance": target_covariance,
        }
        if target.dim == 2:
            found |= {"kl": self.kl(x, target, label), "kl_floor": self.kl(fresh, target, label)}
        return found

    def kl(self, x: Tensor, target: TiltedMixture, label: int | None) -> float:
        """KL(q || p) over the cells of a grid around samples and target, in nats."""
        fine = target.cells(label)
        half = fine.step / 2
        low = torch.minimum(fine.centres.amin(0) - half, x.amin(0))
        high = torch.maximum(fine.centres.amax(0) + half, x.amax(0))
        count, inner = self.cells, 8  # points within a cell, along a side, over which the target is summed
        at = ((x - low) / (high - low) * count).long().clamp(0, count - 1)
        q = torch.bincount(at[:, 0] * count + at[:, 1], minlength=count**2).double() / len(x)
        ticks = (torch.arange(count * inner, dtype=torch.float64) + 0.5) / (count * inner)
        points = torch.cartesian_prod(*(low[i] + ticks * (high[i] - low[i]) for i in (0, 1)))
        log_p = target.log_density(points, label).reshape(count, inner, count, inner).logsumexp((1, 3)).flatten()
        log_p = log_p - log_p.logsumexp(0)
        there = q > 0
        return float((q[there] * (q[there].log() - log_p[there])).sum())


def jackknife(mine: Tensor, theirs: Tensor, draws: int) -> float:
    """Standard error of the sliced distance, leaving out an eighth of the samples after the other; 0 for one sample."""
    groups = min(_GROUPS, len(mine))
    if groups < 2:
        return 0.0
    group = torch.arange(len(mine)) % groups
    kept = [mine[group != i] for i in range(groups)]
    found = torch.tensor([sliced(some, theirs[: draws * len(some)]) for some in kept], dtype=torch.float64)
    return float(((groups - 1) / groups * (found - found.mean()).square().sum()).sqrt())
