"""Probability paths :math:`x_t = \\alpha_t z + \\sigma_t \\varepsilon`, and all conversions between predictions.

To add one, write a file here (or anywhere that is imported) with a subclass of :class:`Path`::

    @fg.paths.register("mine")
    class Mine(fg.paths.Path):
        def alpha(self, t): return t
        def sigma(self, t): return 1 - t**2
"""

from ..registry import import_siblings
from .base import KINDS, OUTPUTS, Kind, Output, Prediction
from .coefficients import Coefficients, Numbers, per_sample
from .path import Path
from .path import paths as registry

register, build, names = registry.register, registry.build, registry.names

__all__ = [
    "KINDS",
    "OUTPUTS",
    "Coefficients",
    "Kind",
    "Numbers",
    "Output",
    "Path",
    "Prediction",
    "build",
    "names",
    "per_sample",
    "register",
    "registry",
]

import_siblings(__name__)
