"""Solvers: from noise to data along any field. They know nothing of guidance, networks or kinds of prediction.

To add one, write a file here (or anywhere that is imported) with a subclass of :class:`Solver`::

    @fg.solvers.register("mine")
    class Mine(fg.solvers.Solver):
        order = 1
        evaluations = property(lambda self: self.steps)

        def states(self, field, x, cond, times):
            for t, s in zip(times[:-1], times[1:]):
                x = x + (s - t).item() * field(x, t, cond).velocity
                yield x

An explicit Runge-Kutta method needs its tableau only: see ``runge_kutta.py``.
"""

from ..registry import import_siblings
from .base import Solver
from .base import solvers as registry
from .diffusions import Diffusion, diffusions
from .grids import Grid, grids
from .optimized import optimize_grid
from .runge_kutta import RungeKutta
from .sampling import sample

register, build, names = registry.register, registry.build, registry.names

__all__ = [
    "Diffusion",
    "Grid",
    "RungeKutta",
    "Solver",
    "build",
    "diffusions",
    "grids",
    "names",
    "optimize_grid",
    "register",
    "registry",
    "sample",
]

import_siblings(__name__)
