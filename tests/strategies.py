"""Random mixtures, paths, times and weights, for the identities that hold for all of them."""

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

import flowguide as fg

seeds = st.integers(0, 2**32 - 1)
path_names = st.sampled_from(fg.paths.names())
weights = st.floats(-3, 8)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@st.composite
def mixtures(draw: Any, max_dim: int = 3, max_components: int = 4) -> fg.oracle.GaussianMixture:
    """Labelled mixtures of moderate spread, in float64; several components may share a label."""
    dim, classes = draw(st.integers(1, max_dim)), draw(st.integers(2, 3))
    components = draw(st.integers(classes, max(classes, max_components)))
    g = generator(draw(seeds))
    root = torch.randn(components, dim, dim, generator=g, dtype=torch.float64)
    return fg.oracle.GaussianMixture(
        weights=torch.rand(components, generator=g, dtype=torch.float64) + 0.2,
        means=1.5 * torch.randn(components, dim, generator=g, dtype=torch.float64),
        covariances=0.3 * root @ root.mT + 0.1 * torch.eye(dim, dtype=torch.float64),
        labels=torch.cat([torch.arange(classes), torch.randint(classes, (components - classes,), generator=g)]),
    )


@st.composite
def exact_fields(draw: Any, max_dim: int = 3) -> fg.MixtureField:
    return fg.MixtureField(draw(mixtures(max_dim)), fg.paths.build(draw(path_names)))


@st.composite
def states(draw: Any, max_dim: int = 3, batch: int = 6) -> tuple[fg.MixtureField, Tensor, Tensor, Tensor]:
    """A field, and x, t, labels to evaluate it at: t per sample, inside the path's interval, off its ends."""
    field = draw(exact_fields(max_dim))
    g = generator(draw(seeds))
    x = 1.5 * torch.randn(batch, field.mixture.dim, generator=g, dtype=torch.float64)
    t = 0.02 + 0.96 * torch.rand(batch, generator=g, dtype=torch.float64)
    return field, x, t, torch.randint(field.num_classes, (batch,), generator=g)


def network_posterior(
    path: str, shape: tuple[int, ...] = (2,), name: str = "mlp_classifier"
) -> fg.fields.NetworkPosterior:
    """A classifier with random weights: what it says is nonsense, and must be finite all the same."""
    torch.manual_seed(0)
    network = fg.networks.build(name, **fg.networks.registry.get(name).options_for(shape, 3))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return fg.fields.NetworkPosterior(network, fg.paths.build(path)).eval().requires_grad_(False)
