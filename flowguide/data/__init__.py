"""Data sets, held in memory: ``fg.data.build("digits", split="train")``.

To add one, write a file here (or anywhere that is imported) with a function or class that returns a :class:`Dataset`
and takes ``split``::

    @fg.data.register("mine")
    def mine(split: str = "train") -> fg.data.Dataset:
        '''One sentence about it.'''
        return fg.data.Dataset("mine", data, labels, num_classes=10)
"""

from ..registry import import_siblings
from .base import Dataset, Split
from .base import datasets as registry

register, build, names = registry.register, registry.build, registry.names

__all__ = ["Dataset", "Split", "build", "names", "register", "registry"]

import_siblings(__name__)
