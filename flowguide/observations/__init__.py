"""Observations: what is seen of clean data, a linear map and noise, for rules that sample what is consistent with it.

An observation is one class in one file here (or anywhere that is imported)::

    @fg.observations.register("mean")
    class Mean(fg.observations.Observation):
        # The mean of all entries.

        def __call__(self, x):
            return x.flatten(1).mean(1, keepdim=True)

The transpose follows by differentiation, and what the rules solve with it from the matrix; ``mask.py`` says both in
closed form. ``fg.observations.build("mean", std=0.1).observe(data, seed=0)`` makes an observation of data.
"""

from ..registry import import_siblings
from .base import Observation
from .base import observations as registry

register, build, names = registry.register, registry.build, registry.names

__all__ = ["Observation", "build", "names", "register", "registry"]

import_siblings(__name__)
