"""MNIST, from its standard files."""

import gzip
import math
from functools import partial
from pathlib import Path
from typing import Literal

import numpy
import torch
from torch import Tensor, nn

from .base import Dataset, Split, datasets
from .files import folder_of, or_explain, verify

SOURCE = "https://ossci-datasets.s3.amazonaws.com/mnist/"
MD5 = {
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}
_PLACES = ("", "MNIST/raw", "raw")  # in the folder


@datasets.register("mnist")
def mnist(split: Split = "train", *, folder: str, size: Literal[28, 32] = 28, verify: bool = True) -> Dataset:
    """MNIST: 60,000 handwritten digits of 28x28 pixels to train on, 10,000 to test with.

    From a folder with train-images-idx3-ubyte.gz and its three siblings, of
    https://ossci-datasets.s3.amazonaws.com/mnist/, packed or unpacked.

    Args:
        split: "train" or "test".
        folder: Where the files are.
        size: 28, or 32 for a black border of two pixels, which halves more often.
        verify: Refuse files that are not those that were published, by their checksums.
    """
    top, part = folder_of(folder, SOURCE), "train" if split == "train" else "t10k"
    images = _idx(top, f"{part}-images-idx3-ubyte", 3, verify)[:, None]
    labels = _idx(top, f"{part}-labels-idx1-ubyte", 1, verify).long()
    if images.shape[2:] != (28, 28):
        raise ValueError(f"{part}-images-idx3-ubyte holds images of {images.shape[2]}x{images.shape[3]}, not 28x28")
    images = nn.functional.pad(images, [(size - 28) // 2] * 4)
    captions = [f"a handwritten digit {label}" for label in labels.tolist()]
    return Dataset(f"mnist ({split})", images, labels, 10, classes=tuple("0123456789"), captions=captions)


def _idx(folder: Path, name: str, dimensions: int, check: bool) -> Tensor:
    """The array of bytes in a file: magic number, sizes (4 bytes each, most significant first), bytes."""
    for place in _PLACES:
        packed, plain = folder / place / f"{name}.gz", folder / place / name
        if packed.is_file():
            if check:
                verify(packed, MD5[packed.name], SOURCE)
            content = or_explain(partial(gzip.decompress, packed.read_bytes()), packed, SOURCE)
            return _array(content, packed, dimensions)
        if plain.is_file():
            return _array(plain.read_bytes(), plain, dimensions)
    raise ValueError(
        f"MNIST is not in the folder {folder}: there is no {name}.gz; download {', '.join(MD5)} from {SOURCE} "
        f"and put them there"
    )


def _array(content: bytes, file: Path, dimensions: int) -> Tensor:
    sizes = [int.from_bytes(content[4 + 4 * i : 8 + 4 * i], "big") for i in range(dimensions)]
    begin = 4 + 4 * dimensions
    if content[:4] != bytes([0, 0, 8, dimensions]) or len(content) - begin != math.prod(sizes):
        raise ValueError(f"{file} is not a file of MNIST, or was cut short; get it again from {SOURCE}")
    return torch.from_numpy(numpy.frombuffer(content, numpy.uint8, offset=begin).reshape(sizes).copy())
