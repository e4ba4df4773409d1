"""Fields: everything that predicts, with one interface, ``prediction = field(x, t, cond)``.

A trained network with its path is a :class:`NetworkField`; an exact Gaussian mixture is a :class:`MixtureField`.
To make another, subclass :class:`Field` with ``predict`` and ``null``.
"""

from .base import Field
from .mixture_field import MixtureField
from .network_field import NetworkField
from .oracle import GaussianMixture

__all__ = ["Field", "GaussianMixture", "MixtureField", "NetworkField"]
