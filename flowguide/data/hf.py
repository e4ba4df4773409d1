"""Pictures of a data set on Hugging Face's hub, or saved from it to a disk."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from ..randomness import uniform
from ..registry import unknown
from .augment import check_size
from .base import Dataset, Split
from .base import datasets as registry
from .files import check_share, classes_in, held_out, picture
from .streamed import Streamed, Unreadable, held

if TYPE_CHECKING:
    from datasets import Dataset as Rows

_SPLIT_SEED = 0  # of which samples are held out; never to be changed: figures are compared across versions
_TESTS = ("test", "validation", "val", "valid")


@registry.register("hf")
def hf(
    split: Split = "train",
    *,
    path: str,
    config: str | None = None,
    image: str = "image",
    label: str | None = "label",
    caption: str | None = None,
    size: int = 64,
    channels: Literal[1, 3] = 3,
    flip: bool = False,
    train_split: str = "train",
    test_split: str | None = None,
    test_share: float = 0.1,
    stream: bool | None = None,
) -> Dataset | Streamed:
    """Pictures of a data set on the Hugging Face hub or on a disk (pip install 'flowguide[hf]').

    Args:
        split: "train" or "test".
        path: Name on the hub, or a folder that ``save_to_disk`` wrote, or anything that ``load_dataset`` takes.
        config: Which of its configurations.
        image: The column of pictures; the middle square of each is brought to size (bicubic, antialiased).
        label: The column of labels: integers, or names; null if there are none.
        caption: The column of captions; null if there are none.
        size: Pixels a side.
        channels: 3 for colour, 1 for grey.
        flip: Whether mirror images are as good; training then shows either.
        train_split: Its split to train on.
        test_split: Its split to test with; null for "test" or "validation" if there is one, or else a share of each
            class to train on, chosen at random once and for all.
        test_share: That share.
        stream: Read pictures when they are asked for; null to do so only if they would fill 2 GiB of memory.
    """
    check_size(size)
    check_share(test_share)
    parts = _parts(path, config)
    if train_split not in parts:
        raise unknown(f"split of {path}", train_split, parts)
    if test_split is not None and test_split not in parts:
        raise unknown(f"split of {path}", test_split, parts)
    train = parts[train_split]
    for option, column in {"image": image, "label": label, "caption": caption}.items():
        if column is not None and column not in train.column_names:
            hint = "" if option == "image" else f"; {option}=null if there are none"
            raise ValueError(f"{unknown(f'column of {path}', column, train.column_names)}{hint}")
    classes, number = _classes(train, label)
    apart = test_split or next((name for name in _TESTS if name in parts and name != train_split), None)
    rows = parts[apart] if split == "test" and apart else train
    labels = _labels(rows, label, classes)
    if not apart:
        lots = uniform((len(rows), 1), _SPLIT_SEED, dtype=torch.float64)[:, 0]
        kept = held_out(lots, labels, test_share) == (split == "test")
        rows, labels = rows.select(kept.nonzero()[:, 0].tolist()), None if labels is None else labels[kept]
    captions = None if caption is None else _captions(rows, caption)
    load = RowPictures(_undecoded(rows, image, path), image, path, size, channels)
    shape = (channels, size, size)
    about = {"classes": classes, "captions": captions, "flip": flip}
    return held(Streamed(f"hf ({split})", load, len(rows), shape, labels, number, **about), stream)


@dataclass(frozen=True)
class RowPictures:
    """Reads the pictures of a column.

    Attributes:
        rows: Its table, with the pictures as they are stored.
        column: Its name.
        path: Of the data set, for messages.
        size, channels: See :func:`~flowguide.data.files.picture`.
    """

    rows: "Rows"
    column: str
    path: str
    size: int
    channels: int

    def __call__(self, number: int) -> Tensor:
        """Picture ``number``, shape (channels, size, size), uint8."""
        stored = self.rows[number][self.column]
        name = f"{self.path}, row {number}"
        if stored is None or (stored["bytes"] is None and stored["path"] is None):
            raise Unreadable(f"{name} holds no picture")
        source = Path(stored["path"]) if stored["bytes"] is None else io.BytesIO(stored["bytes"])
        return picture(source, name, self.size, self.channels)


def _parts(path: str, config: str | None) -> dict[str, "Rows"]:
    """Its splits, by name."""
    try:
        import datasets
    except ImportError:
        raise ValueError(
            "the data set 'hf' needs Hugging Face's datasets, which is not installed: pip install 'flowguide[hf]'"
        ) from None
    folder = Path(path).expanduser()
    saved = any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))
    try:
        found = datasets.load_from_disk(str(folder)) if saved else datasets.load_dataset(path, config)
    except Exception as error:  # of the network, of the hub, of a reader of any format
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"Hugging Face's datasets cannot load {path!r}: {first}") from None
    return dict(found) if isinstance(found, dict) else {"train": found}


def _undecoded(rows: "Rows", column: str, path: str) -> "Rows":
    import datasets

    if not isinstance(rows.features[column], datasets.Image):
        raise ValueError(f"the column {column!r} of {path} holds no pictures, but {_feature(rows.features[column])}")
    return rows.select_columns([column]).cast_column(column, datasets.Image(decode=False))


def _classes(rows: "Rows", label: str | None) -> tuple[Sequence[str] | None, int | None]:
    """Names of the classes, if they have any, and their number."""
    if label is None:
        return None, None
    feature = rows.features[label]
    if getattr(feature, "names", None):
        return tuple(feature.names), len(feature.names)
    kind = str(getattr(feature, "dtype", ""))
    if kind in ("string", "large_string"):
        names = tuple(sorted(set(rows[label]) - {None}))
        return names, len(names)
    if "int" in kind:
        known = [value for value in rows[label] if value is not None]
        return None, classes_in(torch.tensor(known or [0]), f"column {label!r}")
    raise ValueError(f"the column {label!r} holds no labels, which are integers or names, but {_feature(feature)}")


def _labels(rows: "Rows", label: str | None, classes: Sequence[str] | None) -> Tensor | None:
    if label is None:
        return None
    values = list(rows[label])
    if None in values:
        raise ValueError(f"{values.count(None)} of {len(values)} samples have no label; label=null trains without any")
    if values and isinstance(values[0], str):
        number = {name: index for index, name in enumerate(classes)}
        for value in values:
            if value not in number:
                raise ValueError(f"a label to test with, {value!r}, is not among those to train on")
        values = [number[value] for value in values]
    return torch.tensor(values, dtype=torch.int64)


def _captions(rows: "Rows", caption: str) -> list[str]:
    values = list(rows[caption])
    for number, value in enumerate(values):
        if not isinstance(value, str):
            raise ValueError(f"the column {caption!r} holds no captions: in row {number} is {value!r:.80}, and no text")
    return values


def _feature(feature: Any) -> str:
    return str(getattr(feature, "dtype", type(feature).__name__))
