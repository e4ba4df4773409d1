"""Metrics: a number for a set of samples, from what features make of them and of the real data.

To add one, write a file here (or anywhere that is imported) with a subclass of :class:`Metric`.
"""

from ..registry import import_siblings
from .base import Metric, Seen, check_finite, see
from .base import metrics as registry

register, build, names = registry.register, registry.build, registry.names

__all__ = ["Metric", "Seen", "build", "check_finite", "names", "register", "registry", "see"]

import_siblings(__name__)
