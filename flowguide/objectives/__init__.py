"""Training objectives: ``loss = objective(model, data=..., cond=...)``.

To add one, write a file here (or anywhere that is imported) with a subclass of :class:`Objective` that gives one loss
per sample.
"""

from ..registry import import_siblings
from .base import Objective
from .base import objectives as registry

register, build, names = registry.register, registry.build, registry.names

__all__ = ["Objective", "build", "names", "register", "registry"]

import_siblings(__name__)
