"""Features: what metrics are computed in, and so whose numbers they are.

Each says how it resizes images, what else it gives, and its digest, by which what it saw in real data is kept. To add
one, write a file here (or anywhere that is imported) with a subclass of :class:`Features`::

    @registry.register("mine")
    class Mine(Features):
        # Mean and deviation of every sample.
        digest = "mine-1"

        def look(self, samples):
            return torch.stack([samples.flatten(1).mean(1), samples.flatten(1).std(1)], 1), None

        def caption(self, held_out):
            return "mean and deviation"
"""

from ...registry import import_siblings
from .base import Features, Setting
from .base import features as registry

register, build, names = registry.register, registry.build, registry.names

__all__ = ["Features", "Setting", "build", "names", "register", "registry"]

import_siblings(__name__)
