r"""Couplings: which source sample goes with which data sample in a training batch.

Flow matching needs pairs :math:`(z_i, \varepsilon_{\pi(i)})` of data and source samples, and is free to choose which,
as long as the source samples of a batch keep their law. A coupling moves the source only: data and their conditions
stay where they are.

With any coupling but ``independent``, :math:`x_t` is no longer data plus independent noise. The velocity carries source
to data all the same; the score is then no longer :math:`-\hat\varepsilon / \sigma`, so that SDE solvers, and whatever
else reads the score of such a model, are out of their depth.

To add one, write a file here (or anywhere that is imported) with a subclass of :class:`Coupling`::

    @fg.couplings.register("mine")
    class Mine(fg.couplings.Coupling):
        def assign(self, data, source, cond, generator):
            return torch.arange(len(data), device=data.device).flip(0)
"""

from ..registry import import_siblings
from .base import Coupling
from .base import couplings as registry

register, build, names = registry.register, registry.build, registry.names

__all__ = ["Coupling", "build", "names", "register", "registry"]

import_siblings(__name__)
