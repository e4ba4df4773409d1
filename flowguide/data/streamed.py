"""Data sets too large for memory: samples that are read when they are asked for.

A sample that cannot be read never stops a run. Its place is taken by the next that can, with that one's label, in
every epoch and for any number of workers alike; it is named once in a warning, and counted.
"""

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from ..devices import sent
from .base import Attribute, Dataset, Samples, scaled

log = logging.getLogger(__name__)

MEMORY_LIMIT = 2 * 2**30  # bytes; a set of less is read into memory whole
_ATTEMPTS = 100  # samples in a row that cannot be read: then it is not the sample that is broken
_NAMED = 10  # files named in one warning


class Unreadable(ValueError):
    """A sample cannot be read; says which, and why."""


class Read(NamedTuple):
    """Samples as a worker hands them over.

    Attributes:
        images: Shape (B, C, H, W), uint8.
        index: Shape (B,), int64: which samples they are; others than were asked for where one could not be read.
        failures: Samples that could not be read: index and reason.
        fatal: Why nothing can be read; None if all is well.
    """

    images: Tensor
    index: Tensor
    failures: dict[int, str]
    fatal: str | None = None


@dataclass(frozen=True)
class Reader:
    """Reads batches; all of a streamed set that goes to the workers.

    Attributes:
        load: Sample number i, shape ``shape``, uint8; raises whatever it likes if it cannot be read. Picklable.
        count: Number of samples.
        shape: (channels, height, width).
    """

    load: Callable[[int], Tensor]
    count: int
    shape: tuple[int, int, int]

    def __getitem__(self, index: Sequence[int]) -> Read:
        """The samples of these indices, each replaced by the next good one if it cannot be read."""
        images = torch.empty((len(index), *self.shape), dtype=torch.uint8)
        found: list[int] = []
        failures: dict[int, str] = {}
        for row, wanted in enumerate(index):
            for attempt in range(min(self.count, _ATTEMPTS)):
                number = (wanted + attempt) % self.count
                reason = self.into(images[row], number)
                if reason is None:
                    found.append(number)
                    break
                failures[number] = reason
            else:
                fatal = f"{attempt + 1} samples in a row cannot be read; the last one: {reason}"
                return Read(images[:0], torch.tensor(found), failures, fatal)
        return Read(images, torch.tensor(found), failures)

    def into(self, place: Tensor, number: int) -> str | None:
        """Read sample ``number`` into ``place``, shape ``shape``; the reason if that is impossible."""
        try:
            image = self.load(number)
        except Exception as error:  # decoders raise all kinds of things, and none of them is worth a run
            return str(error) if isinstance(error, Unreadable) else f"sample {number}: {type(error).__name__}: {error}"
        if image.dtype != torch.uint8 or tuple(image.shape) != self.shape:
            kind = str(image.dtype).removeprefix("torch.")
            return f"sample {number} is {kind} of shape {tuple(image.shape)}, not uint8 of shape {self.shape}"
        place.copy_(image)
        return None


@dataclass(frozen=True)
class Streamed(Samples):
    """Labelled images that are read when they are asked for.

    Attributes:
        load: Sample number i as bytes, uint8, of the shape below. It goes to worker processes: a function of a module
            or an object that can be pickled. It raises if the sample cannot be read; see :class:`Unreadable`. If it
            has ``contents``, JSON that is another once a sample is, that is part of the set's.
        count: Number of samples.
        shape: Of one sample, (channels, height, width).
        device: Where batches come.
        failed: Samples that could not be read so far: index and reason.
        The rest: see :class:`Samples`.
    """

    name: str
    load: Callable[[int], Tensor]
    count: int
    shape: tuple[int, int, int]
    labels: Tensor | None = None
    num_classes: int | None = None
    classes: Sequence[str] | None = None
    captions: Sequence[str] | None = None
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    flip: bool = False
    levels: int = 256
    device: torch.device | str = "cpu"
    failed: dict[int, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise ValueError(f"{self.name} streams images, of shape (channels, height, width), not {self.shape}")
        self._check()

    def __len__(self) -> int:
        return self.count

    @property
    def contents(self) -> list[Any]:
        """See :attr:`Samples.contents`; and what the source says of all samples, without reading them."""
        return [*super().contents, getattr(self.load, "contents", None)]

    @property
    def reader(self) -> Reader:
        """What workers need of it."""
        return Reader(self.load, self.count, tuple(self.shape))

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor | None]:
        """See :meth:`Samples.batch`; read here and now, in this process. :func:`batches` reads ahead."""
        return self.receive(self.reader[index.tolist()])

    def receive(self, read: Read) -> tuple[Tensor, Tensor | None]:
        """What :attr:`reader` read, as :meth:`batch` gives it; bytes travel to the device, and are scaled there.

        Raises:
            ValueError: if nothing can be read any more.
        """
        self._note(read.failures)
        if read.fatal is not None:
            raise ValueError(f"{self.name}: {read.fatal}")
        images = sent(read.images, self.device)
        labels = None if self.labels is None else self.labels[sent(read.index, self.labels.device)]
        return scaled(images), labels

    def to(self, device: torch.device | str) -> "Streamed":
        """The same, whose batches come on another device."""
        return replace(self, labels=None if self.labels is None else self.labels.to(device), device=device)

    def _note(self, failures: Mapping[int, str]) -> None:
        new = {number: reason for number, reason in failures.items() if number not in self.failed}
        if new:
            self.failed.update(new)
            log.warning(
                "%s: %s; the next that can be read takes its place (%d of %d so far)",
                self.name,
                _listed(list(new.values())),
                len(self.failed),
                self.count,
            )


def held(dataset: Streamed, stream: bool | None = None, threads: int = 1) -> Dataset | Streamed:
    """A streamed set as it is best kept: read into memory whole if it is small.

    Samples that cannot be read are then left out, named in a warning, and counted.

    Args:
        dataset: Its samples are read.
        stream: Leave it streamed, or not; None to decide by its size, :data:`MEMORY_LIMIT`.
        threads: How many read at once; for a ``load`` that can bear it.
    Raises:
        ValueError: if no sample can be read.
    """
    if stream or (stream is None and dataset.count * math.prod(dataset.shape) > MEMORY_LIMIT):
        return dataset
    reader = dataset.reader
    images = torch.empty((dataset.count, *dataset.shape), dtype=torch.uint8)
    with _mapping(threads) as mapping:
        outcomes = mapping(lambda number: reader.into(images[number], number), range(dataset.count))
        # Without a terminal a bar is noise; and what takes two seconds needs none.
        seen = tqdm(outcomes, dataset.name, dataset.count, unit="sample", leave=False, delay=2, disable=None)
        failures = {number: reason for number, reason in enumerate(seen) if reason is not None}
    kept = None
    if failures:
        if len(failures) == dataset.count:
            raise ValueError(f"{dataset.name}: no sample can be read; the first one: {failures[0]}")
        log.warning(
            "%s: %s; left out (%d of %d)", dataset.name, _listed(list(failures.values())), len(failures), dataset.count
        )
        kept = torch.tensor([number for number in range(dataset.count) if number not in failures])
        images = images[kept]
    captions, attributes, labels = dataset.captions, dataset.attributes, dataset.labels
    if kept is not None:
        labels = None if labels is None else labels[kept]
        captions = None if captions is None else [captions[number] for number in kept.tolist()]
        attributes = {name: replace(each, values=each.values[kept]) for name, each in attributes.items()}
    about = {"classes": dataset.classes, "captions": captions, "attributes": attributes, "flip": dataset.flip}
    return Dataset(dataset.name, images, labels, dataset.num_classes, **about)


class _mapping:
    """``map``, by one thread or several; several stop at once when the reading is interrupted."""

    def __init__(self, threads: int) -> None:
        self.pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def __enter__(self) -> Callable[[Callable, Iterable], Iterator]:
        return self.pool.map if self.pool else map

    def __exit__(self, *error: object) -> None:
        if self.pool:
            self.pool.shutdown(cancel_futures=True)


def _listed(reasons: Sequence[str]) -> str:
    """The first few in full, the rest as a number."""
    more = f"; and {len(reasons) - _NAMED} more" if len(reasons) > _NAMED else ""
    return "; ".join(reasons[:_NAMED]) + more
