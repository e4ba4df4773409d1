"""Fields: everything that predicts, with one interface, ``prediction = field(x, t, cond)``.

A trained network with its path is a :class:`NetworkField`; an exact Gaussian mixture is a :class:`MixtureField`.
One whose conditions hold an image is, for the samples of a run, a field of labels: :class:`Given` its images.
To make another, subclass :class:`Field` with ``predict`` and ``null``; ``run.py`` says how a field takes part in a run.

What knows the labels of noisy states, for classifier guidance, is a :class:`Posterior`: a trained classifier with its
path is a :class:`NetworkPosterior`, the exact one of a mixture a :class:`MixturePosterior`.
"""

from .base import Field
from .given import Given
from .latent_field import LatentField
from .mixture_field import MixtureField
from .mixture_posterior import MixturePosterior
from .network_field import NetworkField
from .network_posterior import NetworkPosterior
from .oracle import GaussianMixture
from .posterior import Posterior
from .run import Run

__all__ = [
    "Field",
    "GaussianMixture",
    "Given",
    "LatentField",
    "MixtureField",
    "MixturePosterior",
    "NetworkField",
    "NetworkPosterior",
    "Posterior",
    "Run",
]
