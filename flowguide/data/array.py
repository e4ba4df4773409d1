"""Tensors of your own, from a file."""

import logging
import math
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy
import torch
from torch import Tensor

from ..randomness import uniform
from ..registry import unknown
from .base import Dataset, Split, datasets
from .files import check_share, classes_in, file_of, held_out

log = logging.getLogger(__name__)

_SPLIT_SEED = 0  # of which samples are held out; never to be changed: figures are compared across versions


@datasets.register("array")
def array(
    split: Split = "train",
    *,
    file: str,
    test_file: str | None = None,
    data_key: str = "data",
    label_key: str | None = "labels",
    num_classes: int | None = None,
    channels_last: bool = False,
    range: Sequence[float] | None = None,
    flip: bool = False,
    test_share: float = 0.1,
) -> Dataset:
    """Tensors of your own, from a file .npz or .safetensors: points, latents or images.

    The data are float, in the model's units, shape (N, *); or images as bytes, shape (N, channels, height, width).
    Such a file is what ``flowguide sample`` writes.

    Args:
        split: "train" or "test".
        file: Where they are. An .npz is read without running code in it.
        test_file: A second file, to test with; null to hold out a share of the first, chosen at random once for all.
        data_key: Name of the data in the file.
        label_key: Name of the labels, integers from 0, shape (N,); null if there are none.
        num_classes: Number of labels; null for one more than the largest in ``file``.
        channels_last: Whether images come as (N, height, width, channels).
        range: [low, high]: the range of float data that is to become [-1, 1]; null to take them as they are.
        flip: Whether mirror images are as good; training then shows either.
        test_share: The share of each class that is held out, if there is no second file.
    """
    check_share(test_share)
    options = (data_key, label_key, channels_last, range)
    data, labels = _tensors(file, *options)
    if num_classes is not None and num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, not {num_classes}")
    if labels is not None and num_classes is None:
        num_classes = classes_in(labels, file)
    if labels is None and num_classes is not None:
        raise ValueError(f"num_classes={num_classes} needs labels, and label_key is null")
    if test_file is not None and split == "test":
        shape = data.shape[1:]
        data, labels = _tensors(test_file, *options)
        if data.shape[1:] != shape:
            ours, theirs = tuple(shape), tuple(data.shape[1:])
            raise ValueError(f"{file} holds samples of shape {ours}, and {test_file} of shape {theirs}")
    elif test_file is None:
        lots = uniform((len(data), 1), _SPLIT_SEED, dtype=torch.float64)[:, 0]
        kept = held_out(lots, labels, test_share) == (split == "test")
        if not kept.any():
            raise ValueError(f"test_share={test_share:g} of {len(data)} samples leaves none for the {split} split")
        data, labels = data[kept], None if labels is None else labels[kept]
    return Dataset(f"array ({split})", data, labels, num_classes, flip=flip)


def _tensors(
    given: str, data_key: str, label_key: str | None, channels_last: bool, span: Sequence[float] | None
) -> tuple[Tensor, Tensor | None]:
    file = file_of(given)
    found = _read(file, [key for key in (data_key, label_key) if key is not None], label_key)
    data, labels = found[data_key], None if label_key is None else found[label_key]
    return _data(data, data_key, file, channels_last, span), None if labels is None else _labels(labels, data, file)


def _read(file: Path, keys: Sequence[str], label_key: str | None) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    def check(known: Sequence[str]) -> None:
        for key in keys:
            if key not in known:
                hint = "; label_key=null if there are no labels" if key == label_key else ""
                raise ValueError(f"{file} holds no {key!r} (but {', '.join(sorted(known)) or 'nothing'}){hint}")

    try:
        if file.suffix == ".npz":
            with numpy.load(file, allow_pickle=False) as arrays:
                check(arrays.files)
                return {key: _tensor(arrays[key], key, file) for key in keys}
        if file.suffix == ".safetensors":
            with safe_open(file, "pt") as tensors:
                check(list(tensors.keys()))
                return {key: tensors.get_tensor(key) for key in keys}
    except (OSError, EOFError, TypeError, SafetensorError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{file} is damaged, or no file of arrays ({' '.join(str(error).split())})") from None
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise ValueError(f"{file} holds Python objects and not plain arrays; they could run code") from None
        raise
    raise unknown("kind of file", file.suffix or file.name, [".npz", ".safetensors"])


def _tensor(values: numpy.ndarray, key: str, file: Path) -> Tensor:
    """The same numbers, in this machine's order of bytes."""
    try:
        return torch.from_numpy(values.astype(values.dtype.newbyteorder("="), copy=False))
    except TypeError:
        kind = "text" if values.dtype.kind in "US" else values.dtype.name
        raise ValueError(
            f"{key!r} of {file} is {kind}; data are float, or images as bytes (uint8), and labels integers"
        ) from None


def _data(data: Tensor, key: str, file: Path, channels_last: bool, span: Sequence[float] | None) -> Tensor:
    if data.ndim < 2 or not len(data):
        raise ValueError(f"{key!r} of {file} has shape {tuple(data.shape)}, not (N, *) with N at least 1")
    if channels_last and data.ndim != 4:
        raise ValueError(f"channels_last is for images, and {key!r} of {file} has shape {tuple(data.shape)}")
    if channels_last:
        data = data.movedim(-1, 1).contiguous()
    if data.dtype == torch.uint8:
        if data.ndim != 4 or data.shape[1] > 4:
            turned = "; set channels_last=true" if data.ndim == 4 and data.shape[-1] <= 4 else ""
            raise ValueError(
                f"bytes are images, (N, channels, height, width), and {key!r} of {file} is {tuple(data.shape)}{turned}"
            )
        if span is not None:
            raise ValueError("range is for float data; bytes always become [-1, 1]")
        return data
    if not data.is_floating_point():
        kind = str(data.dtype).removeprefix("torch.")
        raise ValueError(f"{key!r} of {file} is {kind}; data are float, or images as bytes (uint8)")
    data = data.float()
    if not data.isfinite().all():
        broken = int((~data.flatten(1).isfinite().all(1)).sum())
        raise ValueError(f"{broken} of {len(data)} samples in {file} hold infinite or NaN numbers")
    if span is not None:
        low, high = _span(span)
        data = (data - low) * (2 / (high - low)) - 1
    if data.ndim == 4 and data.shape[1] in (1, 3) and data.abs().max() > 1.001:
        log.warning(
            "%s: values lie in [%g, %g]; if these are images, range=[low, high] brings them to [-1, 1]",
            file,
            data.min(),
            data.max(),
        )
    return data


def _span(span: Sequence[float]) -> tuple[float, float]:
    if len(span) != 2 or not -math.inf < span[0] < span[1] < math.inf:
        raise ValueError(f"range is [low, high], [0, 1] say, not {list(span)}")
    return span[0], span[1]


def _labels(labels: Tensor, data: Tensor, file: Path) -> Tensor:
    if labels.dtype == torch.bool or labels.is_floating_point() or labels.is_complex():
        raise ValueError(f"the labels in {file} must be integers, not {str(labels.dtype).removeprefix('torch.')}")
    if tuple(labels.shape) != (len(data),):
        raise ValueError(f"{file} holds {len(data)} samples, and labels of shape {tuple(labels.shape)}")
    labels = labels.long()  # first, as torch compares no other unsigned numbers than bytes
    if labels.min() < 0:
        raise ValueError(f"the labels in {file} must be numbers from 0, and one is {int(labels.min())}")
    return labels
