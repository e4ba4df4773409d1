"""Data sets: ``fg.data.build("digits", split="train")``.

Small ones are held in memory (:class:`Dataset`), large ones are read as they are asked for (:class:`Streamed`); both
are :class:`Samples`, and :func:`batches` feeds either to a training run.

To add one, write a file here (or anywhere that is imported) with a function or class that returns a :class:`Dataset`
and takes ``split``::

    @fg.data.register("mine")
    def mine(split: str = "train") -> fg.data.Dataset:
        '''One sentence about it.'''
        return fg.data.Dataset("mine", data, labels, num_classes=10)

Images may be bytes, uint8 of shape (N, channels, height, width): they become numbers in [-1, 1] a batch at a time. What
is too large for memory is a ``Streamed("mine", load, count, shape, labels, num_classes)``, whose ``load(i)`` reads one.
"""

from ..registry import import_siblings
from .augment import flipped, random_crop, reduce
from .base import Attribute, Dataset, Samples, Split
from .base import datasets as registry
from .feed import batches
from .streamed import Streamed, Unreadable

register, build, names = registry.register, registry.build, registry.names

__all__ = [
    "Attribute",
    "Dataset",
    "Samples",
    "Split",
    "Streamed",
    "Unreadable",
    "batches",
    "build",
    "flipped",
    "names",
    "random_crop",
    "reduce",
    "register",
    "registry",
]

import_siblings(__name__)
