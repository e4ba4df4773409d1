r"""Conditioners: what a network is told of a sample.

.. math:: y = \mathrm{tell}(\text{data}, \text{label}), \qquad
    \text{by its label, the embedding of its caption, a small image of itself, ...}

A training run asks its conditioner, once, for the data set as the loop is to read it and for a function that makes the
conditions of each batch. What the network must be built with for such conditions, the conditioner says too, and what
"none given" means if it is not the network's own to learn. When samples are asked for, in a user's words, it makes
conditions of these.

To add one, write a file here (or anywhere that is imported) with a subclass of :class:`Conditioner`::

    @fg.conditioners.register("mine")
    class Mine(fg.conditioners.Conditioner):
        def prepare(self, dataset):
            return dataset, lambda data, labels, generator: labels
"""

from ..registry import import_siblings
from .base import Asked, Conditioner, Tell
from .base import conditioners as registry

register, build, names = registry.register, registry.build, registry.names

__all__ = ["Asked", "Conditioner", "Tell", "build", "names", "register", "registry"]

import_siblings(__name__)
