"""The problems of the accuracy benchmark: two labelled Gaussian mixtures with exact predictions, guided."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

import flowguide as fg

DOUBLE = torch.float64
PATHS = {"vp": "ddpm", "flow": "linear"}  # DDPM's linear betas in 1000 steps, and rectified flow
DIMENSIONS, WEIGHTS = (2, 64), (1.0, 2.0, 4.0)
BATCH = {2: 1024, 64: 256}


def mixture(dim: int) -> fg.oracle.GaussianMixture:
    """Two components to a label: eight on a ring, radially .2 and tangentially .08 wide; or ten in 64 dimensions."""
    if dim == 2:
        angle = torch.arange(8, dtype=DOUBLE) * (2 * math.pi / 8)
        c, s = angle.cos(), angle.sin()
        means, widths = torch.stack([c, s], 1), torch.tensor([0.2, 0.08], dtype=DOUBLE)
        bases = torch.stack([torch.stack([c, -s], 1), torch.stack([s, c], 1)], 1)
    else:
        g = torch.Generator().manual_seed(0)
        means = 0.6 * torch.randn(10, dim, generator=g, dtype=DOUBLE)
        bases = torch.linalg.qr(torch.randn(10, dim, dim, generator=g, dtype=DOUBLE)).Q
        widths = torch.exp(torch.linspace(math.log(0.05), math.log(0.6), dim, dtype=DOUBLE))
    covariances = bases * widths**2 @ bases.mT
    count = len(means)
    covariances = (covariances + covariances.mT) / 2
    return fg.oracle.GaussianMixture(torch.ones(count), means, covariances, torch.arange(count) % (count // 2))


class Problem(NamedTuple):
    """One case: a guided field, noise of unit variance to start from, and the labels of its samples."""

    path: str
    dim: int
    w: float
    field: fg.Field
    noise: Tensor
    labels: Tensor

    def predict(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Guided data and noise predictions at x = alpha z + sigma eps, for any scales."""
        exact = self.field.field.mixture
        mixed = []
        for cond in (None, self.labels):
            score, data = exact.score_and_data(x, cond, alpha=alpha, sigma=sigma)
            mixed.append((data, -sigma * score))
        return tuple(torch.lerp(u, c, self.w) for u, c in zip(*mixed, strict=True))

    def reference(self, first: float, last: float) -> Tensor:
        """The flow in straight coordinates from noise of scale u = ``first`` to u = ``last``, good to about 1e-9."""
        from torchdiffeq import odeint

        def slope(u: Tensor, x: Tensor) -> Tensor:
            data, noise = self.predict(x, 1 - u, u)
            return noise - data

        rho = first / (1 - first) if first < 1 else math.inf
        scale = math.sqrt(1 + rho**2) / (1 + rho) if first < 1 else 1.0
        times = torch.tensor([first, last], dtype=DOUBLE)
        return odeint(slope, self.noise * scale, times, rtol=1e-10, atol=1e-10, method="dopri8")[-1]


def problems(path: str) -> list[Problem]:
    """All dimensions and weights on one path."""
    cases = []
    for dim in DIMENSIONS:
        exact = fg.MixtureField(mixture(dim), fg.paths.build(PATHS[path]))
        g = torch.Generator().manual_seed(1)
        labels = torch.randint(exact.num_classes, (BATCH[dim],), generator=g)
        noise = torch.randn(BATCH[dim], dim, generator=g, dtype=DOUBLE)
        cases += [Problem(path, dim, w, fg.guidance.build("cfg", exact, w=w), noise, labels) for w in WEIGHTS]
    return cases
