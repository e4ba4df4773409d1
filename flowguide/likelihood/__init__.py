"""Likelihoods under the flow of any field: densities in nats, and bits per dimension of what lies on a lattice."""

from .bits import bits_per_dim
from .flow import log_likelihood
from .prior import matched_prior

__all__ = ["bits_per_dim", "log_likelihood", "matched_prior"]
