"""Metrics: a number for a set of samples, from what a classifier saw in them and in the real data.

To add one, write a file here (or anywhere that is imported) with a subclass of :class:`Metric`.
"""

from ..registry import import_siblings
from .base import Metric, Seen, see
from .base import metrics as registry

register, build, names = registry.register, registry.build, registry.names

__all__ = ["Metric", "Seen", "build", "names", "register", "registry", "see"]

import_siblings(__name__)
