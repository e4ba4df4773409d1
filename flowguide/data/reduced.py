"""Another data set at a lower resolution: what the stages of a cascade before the last one learn."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .augment import check_size, reduce
from .base import Dataset, Samples, Split, datasets
from .streamed import Streamed


@datasets.register("reduced")
def reduced(split: Split = "train", *, of: Mapping[str, Any], size: int) -> Samples:
    """Another data set at a lower resolution, a pixel of which is the mean of a block: the base stage of a cascade.

    It is what the conditioner ``low_resolution`` shows of the data to the stage that follows. Bytes are rounded to
    bytes again. Labels, captions and attributes stay.

    Args:
        split: "train" or "test": that of the other set.
        of: Node of the other set: ``{name: image_folder, folder: photos, size: 64}``.
        size: Pixels a side; blocks must fill the images of the other set.
    """
    check_size(size)
    whole = datasets.build_from(of, split=split)
    kernel = Reduced(None, size)
    shape = tuple(reduce(torch.empty(1, *whole.shape, device="meta"), size).shape[1:])
    name = f"reduced ({split})"
    if isinstance(whole, Streamed):
        return replace(whole, name=name, load=replace(kernel, load=whole.load), shape=shape)
    if not isinstance(whole, Dataset):
        raise ValueError(f"reduced takes a data set of images, and {whole.name} is a {type(whole).__name__}")
    parts = whole.data.split(512)
    return replace(whole, name=name, data=torch.cat([kernel.of(part) for part in parts]), law=None)


@dataclass(frozen=True)
class Reduced:
    """Reads an image and reduces it.

    Attributes:
        load: Of the other set.
        size: Pixels a side.
    """

    load: Callable[[int], Tensor] | None
    size: int

    def __call__(self, number: int) -> Tensor:
        return self.of(self.load(number)[None])[0]

    @property
    def contents(self) -> Any:
        """Those of the other set."""
        return getattr(self.load, "contents", None)

    def of(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W), bytes or not, reduced; of the same type."""
        small = reduce(images.float(), self.size)
        return small.round().to(torch.uint8) if images.dtype == torch.uint8 else small
