"""Guidance rules: fields made of fields, so that rules nest and feed any solver.

A rule of two predictions, the unconditional and the conditional one, is one method in a file here (or anywhere that
is imported)::

    @fg.guidance.register("mine")
    class Mine(fg.guidance.SpacePair):
        # The conditional prediction of the data, and w - 1 times the signs of the difference.
        space = "data"  # the kind of prediction in which it acts
        conditional_at_1 = True  # a claim that the tests hold it to

        def blend(self, u, c, w):
            return c + (w - 1) * (c - u).sign()

:class:`SpacePair` evaluates the field, once or twice as is the faster, takes w as a number, per sample or as a
schedule, and turns the result into every other kind. A rule that does the same in all kinds, because its weights sum
to one, is a :class:`Pair` with ``combine(u, c, w)`` on predictions; a rule around another rule is a
:class:`Modifier`; and whatever is none of these is a :class:`Guidance` with ``predict(x, t, cond)``.

Rules nest: the unconditional prediction of a rule is that of its field. A rule that keeps something from evaluation to
evaluation, looks at the steps to come or acts between them takes part in the run of a solver (``fields/run.py``): its
``for_run`` gives a fresh copy with the state of that run, as in ``cfgpp.py``, and its ``after_step`` may change the
states, as in ``predictor_corrector.py``.
"""

from ..registry import import_siblings
from .base import Guidance
from .base import guidance as registry
from .modifier import Modifier
from .pair import Pair
from .spaces import SpacePair
from .together import together
from .weights import Weight, as_weight, check_weight, schedules, weight_at

register, build, names = registry.register, registry.build, registry.names

__all__ = [
    "Guidance",
    "Modifier",
    "Pair",
    "SpacePair",
    "Weight",
    "as_weight",
    "build",
    "check_weight",
    "names",
    "register",
    "registry",
    "schedules",
    "together",
    "weight_at",
]

import_siblings(__name__)
