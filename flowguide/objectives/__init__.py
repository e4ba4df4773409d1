"""Training objectives: ``loss = objective(model, data=..., cond=...)``.

To add one, write a file here (or anywhere that is imported) with a subclass of :class:`Objective` that gives one loss
per sample; if it regresses a field on the truth at random times, of :class:`Regression`, which draws times and noise,
pairs noise with data and drops labels::

    @fg.objectives.register("mine")
    class Mine(fg.objectives.Regression):
        def errors(self, guess, truth):
            return (guess.data - truth.data).abs().flatten(1).mean(1)

``weightings`` and ``time_samplings`` are the registries of what these objectives are made of.
"""

from ..registry import import_siblings
from .base import Objective
from .base import objectives as registry
from .regression import Regression
from .time_sampling import Times, TimeSampling, time_samplings
from .weighting import Weighting, weightings

register, build, names = registry.register, registry.build, registry.names

__all__ = [
    "Objective",
    "Regression",
    "TimeSampling",
    "Times",
    "Weighting",
    "build",
    "names",
    "register",
    "registry",
    "time_samplings",
    "weightings",
]

import_siblings(__name__)
