"""Exact fields to solve, and what solving them takes."""

import functools

import torch
from torch import Tensor

import flowguide as fg
from flowguide.solvers.wiener import Wiener

# Solvers that draw noise unless told not to, with the options that leave none: for the order of their drift.
WITHOUT_NOISE = {
    "euler_maruyama": {"diffusion": "zero"},
    "stochastic_heun": {"diffusion": "zero"},
    "sra1": {"diffusion": "zero"},
    "torchsde": {"diffusion": "zero"},
    "dpmpp_2m_sde": {"eta": 0.0},
    "stochastic_adams": {"eta": 0.0},
}
# Options that make another method of a solver: the contract holds for these as for all that is registered.
VARIANTS = [
    ("ddim", {"eta": 1.0}),
    ("deis", {"order": 1}),
    ("edm_heun", {"churn": 6.0}),
    ("langevin", {"predictor": "edm_heun"}),
    ("pec", {"predictor": 1, "corrector": 1}),
    ("stochastic_adams", {"predictor": 1, "corrector": 1}),
    ("stochastic_adams", {"predictor": 3, "corrector": 0}),
    ("stochastic_adams", {"predictor": 4, "corrector": 0}),
]
EVERY = [*((name, {}) for name in fg.solvers.names()), *VARIANTS]
ADAPTIVE = {"torchdiffeq"}
# Time from which every clock is finite, on every path: where log-SNR is infinite, methods in it lose order.
INSIDE = {"t_start": 0.05, "t_end": 0.95}


class Counting(fg.Field):
    """A field that counts its evaluations and remembers their times."""

    def __init__(self, field: fg.Field) -> None:
        super().__init__()
        self.field, self.path, self.num_classes, self.times = field, field.path, field.num_classes, []

    def null(self, batch: int):
        return self.field.null(batch)

    def predict(self, x, t, cond):
        self.times.append(t.item())
        return self.field(x, t, cond)


class Idle(Counting):
    """One that acts between steps, and does nothing: solvers take their steps one by one."""

    between_steps = True


def exact(path: str = "linear") -> fg.MixtureField:
    """Three Gaussians in the plane, a label each."""
    mixture = fg.oracle.GaussianMixture(
        weights=torch.tensor([0.2, 0.5, 0.3]),
        means=torch.tensor([[-1.0, 0.5], [1.0, 1.0], [0.5, -1.5]]),
        covariances=torch.tensor([0.4, 0.6, 0.5])[:, None, None] * torch.eye(2),
    )
    return fg.MixtureField(mixture, fg.paths.build(path))


def labelled(dim: int) -> fg.oracle.GaussianMixture:
    """Eight components in the plane or ten in 64 dimensions, two to a label, each with its own covariance.

    Two to a label because the flow of a single Gaussian is linear, on which some methods are better than their order.
    """
    components = 8 if dim == 2 else 10
    g = torch.Generator().manual_seed(dim)
    root = torch.randn(components, dim, dim, generator=g, dtype=torch.float64) / dim**0.5
    return fg.oracle.GaussianMixture(
        weights=0.5 + torch.rand(components, generator=g, dtype=torch.float64),
        means=(1.0 if dim == 2 else 0.3) * torch.randn(components, dim, generator=g, dtype=torch.float64),
        covariances=0.15 * root @ root.mT + 0.3 * torch.eye(dim, dtype=torch.float64),
        labels=torch.arange(components) // 2,
    )


def guided(path: str, dim: int = 2, w: float = 2.0) -> fg.Field:
    return fg.guidance.build("cfg", fg.MixtureField(labelled(dim), fg.paths.build(path)), w=w)


def start(field: fg.Field, count: int = 32, dim: int = 2, t: float | None = None) -> tuple[Tensor, Tensor]:
    x = field.path.prior((count, dim), seed=0, t=t, dtype=torch.float64)
    return x, torch.arange(count) % field.num_classes


@functools.cache
def reference(path: str, dim: int = 2, w: float = 2.0) -> Tensor:
    """The end of the flow inside, good to about 1e-12."""
    field = guided(path, dim, w)
    solver = fg.solvers.build("torchdiffeq", method="dopri8", rtol=1e-13, atol=1e-13, steps=1, **INSIDE)
    return solver.solve(field, *start(field, 12, dim, 0.05))


def rms(error: Tensor) -> float:
    return float(error.square().mean().sqrt())


def seeded(solver: fg.solvers.Solver) -> dict:
    """What its methods need to draw noise."""
    return {"seed": 5} if solver.stochastic else {}


class Brownian(Wiener):
    """One Brownian path, seen by solvers of any number of steps: its numbers for a long step follow from short ones.

    Args:
        clock: Variance of the path at the times of the finest grid, shape (fine + 1,).
        steps: How many steps the solver takes, a divisor of the finest number.
        shape: Of the states.
    """

    def __init__(self, clock: Tensor, steps: int, shape: tuple[int, ...]) -> None:
        super().__init__(seed=0)
        self.clock, self.ratio = clock, (len(clock) - 1) // steps
        g = torch.Generator().manual_seed(0)
        self.numbers = torch.randn(2, len(clock) - 1, *shape, generator=g, dtype=torch.float64)

    def __call__(self, step: int, x: Tensor, draw: int = 0) -> Tensor:
        own = slice(step * self.ratio, (step + 1) * self.ratio)
        h = self.clock.diff()[own].reshape(-1, *[1] * x.ndim)
        length = h.sum()
        one, two = self.numbers[:, own]
        dw = h.sqrt() * one
        if draw == 0:
            return dw.sum(0) / length.sqrt()
        before = dw.cumsum(0) - dw
        dz = (before * h + h**1.5 / 2 * (one + two / 3**0.5)).sum(0)  # of the whole step: the time integral of W
        return 3**0.5 * (2 * dz / length**1.5 - dw.sum(0) / length.sqrt())
