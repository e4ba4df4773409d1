"""What sets that are read from a disk have in common: folders, checksums, pictures, and what is held out."""

import difflib
import hashlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy
import torch
from PIL import Image
from torch import Tensor

from ..digest import digest_of
from .augment import fitted
from .streamed import Unreadable

log = logging.getLogger(__name__)

_MOST_CLASSES = 1_000_000  # beyond which, and the number of samples, the largest label does not count the classes


def folder_of(given: str, source: str | None = None) -> Path:
    """The folder; ValueError in a sentence if there is none, or it cannot be read, with where its files come from."""
    try:
        folder = _existing(given, "folder")
    except ValueError as error:
        raise ValueError(f"{error}{f' (its files come from {source})' if source else ''}") from None
    if not folder.is_dir():
        raise ValueError(f"{given} is a file, and the data are looked for in a folder")
    listed(folder)
    return folder


def file_of(given: str) -> Path:
    """The file; ValueError in a sentence if there is none, or it cannot be read."""
    file = _existing(given, "file")
    if not file.is_file():
        raise ValueError(f"{given} is a folder, and the data are looked for in a file")
    try:
        with file.open("rb"):
            return file
    except OSError as error:
        raise ValueError(f"{given} cannot be read: {error.strerror}") from None


def _existing(given: str, what: str) -> Path:
    path = Path(given).expanduser()
    try:
        if path.exists():
            return path
    except OSError as error:
        raise ValueError(f"{given} cannot be read: {error.strerror}") from None
    beside = [each.name for each in listed(path.parent)] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, beside, n=1, cutoff=0.7)
    hint = f"; did you mean {path.parent / close[0]}?" if close else ""
    raise ValueError(f"there is no {what} {given}{hint}")


def listed(folder: Path) -> list[Path]:
    """What is in a folder, sorted by name, without what is hidden; ValueError if it cannot be read."""
    try:
        return sorted((each for each in folder.iterdir() if not each.name.startswith(".")), key=lambda each: each.name)
    except OSError as error:
        raise ValueError(f"the folder {folder} cannot be read: {error.strerror}") from None


def verify(file: Path, md5: str, source: str) -> None:
    """ValueError unless a file is the one that was published, by its MD5."""
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != md5:
        raise ValueError(
            f"{file} is not the file that was published (md5 {found}, not {md5}): get it again from {source}, or take "
            f"it as it is with verify=false"
        )


def picture(source: Path | BinaryIO, name: str, size: int, channels: int) -> Tensor:
    """A picture at size, as :func:`~flowguide.data.augment.fitted` makes it.

    Args:
        source: A file, on a disk or in memory.
        name: What to call it.
        size, channels: See there.
    Raises:
        Unreadable: if it cannot be decoded.
    """
    try:
        with Image.open(source) as image:
            return fitted(image, size, channels)
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error, and more
        reason = "not an image" if isinstance(error, Image.UnidentifiedImageError) else f"{error}"
        raise Unreadable(f"{name} cannot be read ({reason or type(error).__name__})") from None


@dataclass(frozen=True)
class Pictures:
    """Reads the files of a folder.

    Attributes:
        folder: Where they are.
        names: Their names in it, as bytes in one array: a list of a million strings would be copied by every worker.
        size, channels: See :func:`picture`.
    """

    folder: Path
    names: numpy.ndarray
    size: int
    channels: int

    def __call__(self, number: int) -> Tensor:
        """Picture ``number``, shape (channels, size, size), uint8."""
        file = self.folder / os.fsdecode(self.names[number])
        return picture(file, os.fsencode(file).decode(errors="backslashreplace"), self.size, self.channels)

    @property
    def contents(self) -> str:
        """A digest of when the files were changed, and how long they are."""
        paths = (self.folder / os.fsdecode(name) for name in self.names)
        found = [path.stat() if path.exists() else None for path in paths]
        return digest_of([each and [each.st_mtime_ns, each.st_size] for each in found])


def held_out(lots: Tensor, labels: Tensor | None, share: float) -> Tensor:
    """Which samples are held out for testing: of each label the share with the lowest lots.

    Args:
        lots: A number for each sample, shape (N,).
        labels: Shape (N,), int64; None to hold out of all alike.
        share: In [0, 1). If it is not 0, a label of two samples or more has some in both splits.
    Returns:
        Shape (N,), bool.
    """
    if labels is None:
        labels = torch.zeros(len(lots), dtype=torch.int64)
    labels = labels.unique(return_inverse=True)[1]  # whatever numbers they are, there is one count for each that occurs
    order = lots.argsort(stable=True)
    order = order[labels[order].argsort(stable=True)]  # by label, and within one by lot
    counts = torch.bincount(labels)
    first = counts.cumsum(0) - counts
    rank = torch.empty_like(labels)
    rank[order] = torch.arange(len(labels)) - first[labels[order]]
    wanted = (share * counts.double()).round().long()
    if share > 0:
        wanted = torch.where(counts > 1, wanted.clamp(min=1).minimum(counts - 1), wanted)
    return rank < wanted[labels]


def classes_in(labels: Tensor, owner: object) -> int:
    """How many classes there are where nothing but labels says so; ValueError if these rather look like names."""
    highest = int(labels.max())
    if highest >= max(len(labels), _MOST_CLASSES):
        different = len(labels.unique())
        raise ValueError(
            f"the labels of {owner} go up to {highest}, with {different} different ones in {len(labels)} samples: "
            f"number the classes from 0 to {different - 1}"
        )
    return highest + 1


def check_share(test_share: float) -> None:
    """ValueError unless it is a share that leaves something to train on."""
    if not 0 <= test_share < 1:
        raise ValueError(f"test_share is a share of the samples, at least 0 and below 1, not {test_share:g}")


def or_explain(action: Callable[[], bytes], file: Path, source: str) -> bytes:
    """The bytes that ``action`` reads of a file; ValueError in a sentence if they are damaged."""
    try:
        return action()
    except Exception as error:  # gzip, tarfile and zlib raise their own
        raise ValueError(f"{file} is damaged ({error}); get it again from {source}") from None
