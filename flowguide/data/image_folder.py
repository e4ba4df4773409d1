"""Pictures in a folder, a sub-folder for each class."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy
import torch
from torch import Tensor

from .augment import check_size
from .base import Dataset, Split, datasets
from .files import Pictures, check_share, folder_of, held_out, listed
from .streamed import Streamed, held

_KINDS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
_TESTS = ("test", "val", "valid", "validation")


@datasets.register("image_folder")
def image_folder(
    split: Split = "train",
    *,
    folder: str,
    size: int = 64,
    channels: Literal[1, 3] = 3,
    flip: bool = False,
    test_share: float = 0.1,
    captions: bool = False,
    stream: bool | None = None,
) -> Dataset | Streamed:
    """Pictures of your own, in a folder with a sub-folder for each class.

    The middle square of each is brought to size (Pillow's bicubic filter, antialiased). Sub-folders are searched to
    their depths, and where links lead; only files with the ending of a picture count. A file that cannot be read is
    named and left out.

    Args:
        split: "train" or "test": those of folder/train and folder/test (or val) if both are there; otherwise a share of
            each class, of folder/train if there is nothing else, chosen by the names of the files, is held out for
            testing.
        folder: Where the pictures are.
        size: Pixels a side.
        channels: 3 for colour, 1 for grey.
        flip: Whether mirror images are as good; training then shows either.
        test_share: The share that is held out, if there is no folder for testing.
        captions: Whether each picture has a caption in a text file beside it, cats/1.txt for cats/1.png.
        stream: Read pictures when they are asked for; null to do so only if they would fill 2 GiB of memory. A corrupt
            one is then found late, and the next in the folder takes its place.
    """
    check_size(size)
    check_share(test_share)
    top = folder_of(folder)
    tests = [top / name for name in _TESTS if _folders(top / name)]
    apart = bool(tests and _folders(top / "train"))
    if not apart and [each.name for each in _folders(top)] == ["train"] and _folders(top / "train"):
        top = top / "train"
    root = (top / "train" if split == "train" else tests[0]) if apart else top
    classes = tuple(each.name for each in _classes(top / "train" if apart else top))
    names, labels = _files(root, classes)
    if not apart:
        kept = held_out(_lots(names), labels, test_share) == (split == "test")
        if not kept.any():
            raise ValueError(f"test_share={test_share:g} of {len(names)} pictures leaves none for the {split} split")
        names = [name for name, keep in zip(names, kept.tolist(), strict=True) if keep]
        labels = labels[kept]
    load = Pictures(root, numpy.array([os.fsencode(name) for name in names]), size, channels)
    shape = (channels, size, size)
    about = {"classes": classes, "captions": _captions(root, names) if captions else None, "flip": flip}
    streamed = Streamed(f"image_folder ({split})", load, len(names), shape, labels, len(classes), **about)
    return held(streamed, stream, threads=min(8, os.cpu_count() or 1))


def _folders(folder: Path) -> list[Path]:
    return [each for each in listed(folder) if each.is_dir()] if folder.is_dir() else []


def _classes(folder: Path) -> list[Path]:
    found = _folders(folder)
    if found:
        return found
    if not listed(folder):
        raise ValueError(f"the folder {folder} is empty")
    raise ValueError(
        f"the folder {folder} has no sub-folders: image_folder wants one for each class, {folder / 'cats' / '1.png'} "
        f"say; pictures of one kind go into one sub-folder"
    )


def _files(root: Path, classes: Sequence[str]) -> tuple[list[str], Tensor]:
    """Files relative to ``root``, sorted by class and name, and the class of each."""
    extra = {each.name for each in _classes(root)} - set(classes)
    if extra:
        raise ValueError(f"{root} has a class {min(extra)!r} that the folder to train on has not")
    names: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = _within(root, name) if (root / name).is_dir() else []  # a class need not be tested
        if not found and (root / name).is_dir():
            raise ValueError(
                f"the folder {root / name} holds no pictures ({', '.join(_KINDS)}); put some in, or remove it"
            )
        names += found
        labels += [label] * len(found)
    return names, torch.tensor(labels, dtype=torch.int64)


def _within(root: Path, name: str) -> list[str]:
    found = []
    seen = {os.path.realpath(root / name)}

    def is_new(folder: str) -> bool:
        """Whether it was not walked before, by another name: links may lead in circles."""
        known = len(seen)
        seen.add(os.path.realpath(folder))
        return len(seen) > known

    for here, folders, files in os.walk(root / name, onerror=_refuse, followlinks=True):
        folders[:] = [each for each in sorted(folders) if not each.startswith(".") and is_new(os.path.join(here, each))]
        inside = os.path.relpath(here, root)
        found += [
            os.path.join(inside, each) for each in files if each.lower().endswith(_KINDS) and not each.startswith(".")
        ]
    return sorted(found)


def _captions(root: Path, names: Sequence[str]) -> list[str]:
    """What the text files beside the pictures say, in one line each."""
    found = []
    for name in names:
        file = (root / name).with_suffix(".txt")
        try:
            found.append(" ".join(file.read_text(encoding="utf-8-sig").split()))
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(
                f"{root / name} has no caption beside it, {file}, that can be read ({type(error).__name__}): write "
                f"one, or leave out captions=true"
            ) from None
    return found


def _refuse(error: OSError) -> None:
    raise ValueError(f"the folder {error.filename} cannot be read: {error.strerror}") from None


def _lots(names: Sequence[str]) -> Tensor:
    """A number for each file that follows from its name: new files beside it do not change on which side it falls."""
    digests = (hashlib.sha256(Path(name).as_posix().encode(errors="surrogateescape")).digest() for name in names)
    return torch.tensor([int.from_bytes(digest[:6], "big") for digest in digests], dtype=torch.int64)
