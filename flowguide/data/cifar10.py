"""CIFAR-10, from its standard files."""

import io
import pickle
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch

from .base import Dataset, Split, datasets
from .files import folder_of, or_explain, verify

SOURCE = "https://www.cs.toronto.edu/~kriz/cifar.html"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
# As published: of the archives by the source, of the files in them where they are widely known.
MD5 = {
    "cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530",
    "cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a",
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
_PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class _Form:
    """One of the forms in which the set is published."""

    archive: str
    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]


_FORMS = (
    _Form(
        "cifar-10-binary.tar.gz",
        "cifar-10-batches-bin",
        tuple(f"data_batch_{n}.bin" for n in range(1, 6)),
        ("test_batch.bin",),
    ),
    _Form(
        "cifar-10-python.tar.gz",
        "cifar-10-batches-py",
        tuple(f"data_batch_{n}" for n in range(1, 6)),
        ("test_batch",),
    ),
)


@datasets.register("cifar10")
def cifar10(split: Split = "train", *, folder: str, flip: bool = True, verify: bool = True) -> Dataset:
    """CIFAR-10: 50,000 photographs of 32x32 pixels in 10 classes to train on, 10,000 to test with.

    From a folder with cifar-10-binary.tar.gz or cifar-10-python.tar.gz of https://www.cs.toronto.edu/~kriz/cifar.html,
    packed or unpacked. No code in the files is run.

    Args:
        split: "train" or "test".
        folder: Where the files are.
        flip: Whether training shows mirror images too.
        verify: Refuse files that are not those that were published, by their checksums.
    """
    parts = _parts(folder_of(folder, SOURCE), split, verify)
    images = torch.cat([torch.from_numpy(pixels).reshape(-1, 3, 32, 32) for pixels, _ in parts])
    labels = torch.cat([torch.from_numpy(labels).long() for _, labels in parts])
    captions = [f"a photo of {'an' if CLASSES[label][0] in 'a' else 'a'} {CLASSES[label]}" for label in labels.tolist()]
    return Dataset(f"cifar10 ({split})", images, labels, 10, classes=CLASSES, captions=captions, flip=flip)


def _parts(folder: Path, split: Split, check: bool) -> list[tuple[numpy.ndarray, numpy.ndarray]]:
    """Pixels, shape (N, 3072), and labels, shape (N,), of each file of a split."""
    for form in _FORMS:
        wanted = form.train if split == "train" else form.test
        for unpacked in (folder, folder / form.folder):
            if all((unpacked / name).is_file() for name in wanted):
                return [_decoded(_content(unpacked / name, check), unpacked / name) for name in wanted]
    for form in _FORMS:
        archive = folder / form.archive
        if archive.is_file():
            if check:
                verify(archive, MD5[form.archive], SOURCE)
            wanted = form.train if split == "train" else form.test
            return [_decoded(content, archive / name) for name, content in _unpacked(archive, form, wanted)]
    raise ValueError(
        f"CIFAR-10 is not in the folder {folder}: download cifar-10-binary.tar.gz (or cifar-10-python.tar.gz) from "
        f"{SOURCE} and put it there, packed or unpacked"
    )


def _content(file: Path, check: bool) -> bytes:
    if check and file.name in MD5:
        verify(file, MD5[file.name], SOURCE)
    return file.read_bytes()


def _unpacked(archive: Path, form: _Form, wanted: Sequence[str]) -> list[tuple[str, bytes]]:
    found: dict[str, bytes] = {}

    def read() -> bytes:
        with tarfile.open(archive, "r|gz") as packed:
            for member in packed:
                folder, _, name = member.name.removeprefix("./").rpartition("/")
                if folder == form.folder and name in wanted:
                    found[name] = packed.extractfile(member).read()
        return b""

    or_explain(read, archive, SOURCE)
    missing = [name for name in wanted if name not in found]
    if missing:
        raise ValueError(f"{archive} holds no {form.folder}/{missing[0]}; get it again from {SOURCE}")
    return [(name, found[name]) for name in wanted]


def _decoded(content: bytes, file: Path) -> tuple[numpy.ndarray, numpy.ndarray]:
    if file.suffix == ".bin":
        rows = numpy.frombuffer(content, numpy.uint8)
        if len(rows) == 0 or len(rows) % (1 + _PIXELS):
            raise ValueError(f"{file} is {len(rows)} bytes long, which is no number of images of 1 + {_PIXELS} bytes")
        rows = rows.reshape(-1, 1 + _PIXELS)
        return _checked(rows[:, 1:].copy(), rows[:, 0].copy(), file)
    try:
        batch = _Arrays(io.BytesIO(content), encoding="bytes").load()
        pixels, labels = numpy.asarray(batch[b"data"]), numpy.asarray(batch[b"labels"])
    except Exception as error:  # a foreign pickle may raise anything
        raise ValueError(f"{file} is not a batch of CIFAR-10 ({error}); get it again from {SOURCE}") from None
    if pixels.dtype != numpy.uint8 or pixels.shape != (len(labels), _PIXELS):
        expected = (len(labels), _PIXELS)
        raise ValueError(f"{file} holds {pixels.dtype} of shape {pixels.shape}, not bytes of shape {expected}")
    return _checked(pixels, labels, file)


def _checked(pixels: numpy.ndarray, labels: numpy.ndarray, file: Path) -> tuple[numpy.ndarray, numpy.ndarray]:
    """They themselves; ValueError if a label is none of the classes."""
    wrong = labels[(labels < 0) | (labels >= len(CLASSES))]
    if len(wrong):
        raise ValueError(f"{file} has a label {wrong[0]}, and those of CIFAR-10 are 0 to 9; get it again from {SOURCE}")
    return pixels, labels


class _Arrays(pickle.Unpickler):
    """Reads pickles of dictionaries, lists, numbers and arrays, and refuses everything else: no code is run."""

    ALLOWED = {
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("_codecs", "encode"),  # how Python 3 writes bytes in an old protocol
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it wants to use {module}.{name}, which data do not need")
        return super().find_class(module.replace("numpy.core", "numpy._core") if _NEW_NUMPY else module, name)


_NEW_NUMPY = int(numpy.__version__.partition(".")[0]) >= 2
