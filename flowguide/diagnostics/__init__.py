"""Diagnostics: what a field is, measured at states that it is asked about.

Each takes a field, states, a time and conditions, and gives a :class:`Finding`: a headline number with its standard
error, a number per sample, and the parts that a figure draws. To add one, write a file here (or anywhere that is
imported)::

    @fg.diagnostics.register("mine")
    class Mine(fg.diagnostics.Diagnostic):
        # The speed of the flow.
        title, unit = "speed", "data units per unit time"

        def measure(self, field, x, t, cond, first):
            with torch.no_grad():
                squares = field(x, t, cond).velocity.flatten(1).square().sum(1)
            return fg.diagnostics.finding_of_squares(squares)

``first`` is the index of the sample in row 0, for whoever draws random numbers. :class:`TiltedMixture`, the law that
guidance is meant to sample, is of use on its own.
"""

from ..registry import import_siblings
from .base import Diagnostic, Finding
from .base import diagnostics as registry
from .statistics import finding_of_squares
from .tilted import TiltedMixture

register, build, names = registry.register, registry.build, registry.names

__all__ = [
    "Diagnostic",
    "Finding",
    "TiltedMixture",
    "build",
    "finding_of_squares",
    "names",
    "register",
    "registry",
]

import_siblings(__name__)
