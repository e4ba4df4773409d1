"""Fields: everything that predicts, with one interface, ``prediction = field(x, t, cond)``.

A trained network with its path is a :class:`NetworkField`; an exact Gaussian mixture is a :class:`MixtureField`.
To make another, subclass :class:`Field` with ``predict`` and ``null``; ``run.py`` says how a field takes part in a run.
"""

from .base import Field
from .mixture_field import MixtureField
from .network_field import NetworkField
from .oracle import GaussianMixture
from .run import Run

__all__ = ["Field", "GaussianMixture", "MixtureField", "NetworkField", "Run"]
