"""Guidance rules: fields made of fields, so that rules nest and feed any solver.

To add one, write a file here (or anywhere that is imported) with a subclass of :class:`Guidance`::

    @fg.guidance.register("mine")
    class Mine(fg.guidance.Guidance):
        def __init__(self, field: fg.Field, w: float = 1.0):
            super().__init__(field)
            self.w = w

        def predict(self, x, t, cond):
            return self.field(x, t, None).lerp(self.field(x, t, cond), self.w * float(t))
"""

from ..registry import import_siblings
from .base import Guidance, check_weight
from .base import guidance as registry

register, build, names = registry.register, registry.build, registry.names

__all__ = ["Guidance", "build", "check_weight", "names", "register", "registry"]

import_siblings(__name__)
