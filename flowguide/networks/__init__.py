"""Networks, called as ``network(x, t, cond)``. They know nothing of paths: a field says what an output means.

To add one, write a file here (or anywhere that is imported) with a subclass of :class:`Network`::

    @fg.networks.register("mine")
    class Mine(fg.networks.Network):
        def __init__(self, dim: int, num_classes: int | None = None): ...
        def forward(self, x, t, cond): ...

A part of it that depends on the conditions alone can be computed once for all steps of a sampling run: that is its
``encode`` (``encoded.py``). Conditions other than labels are made by a :class:`~.conditioning.Conditioning`.
"""

from ..registry import import_siblings
from .autoencoder import Autoencoder, Reconstruction
from .base import Classifier, Network, NoisyClassifier
from .base import networks as registry
from .beside import ImageNetwork
from .conditioning import masked
from .cost import Cost, cost
from .encoded import Encoded, concatenate
from .joined import joined

register, build, names = registry.register, registry.build, registry.names

__all__ = [
    "Autoencoder",
    "Classifier",
    "Cost",
    "Encoded",
    "ImageNetwork",
    "Network",
    "NoisyClassifier",
    "Reconstruction",
    "build",
    "concatenate",
    "cost",
    "joined",
    "masked",
    "names",
    "register",
    "registry",
]

import_siblings(__name__)
