"""What goes into the files: the latents of a data set's samples, file by file, and what else is known of them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from .. import data
from ..data import Samples
from ..networks import Autoencoder

SPLITS: tuple[Literal["train", "test"], ...] = ("train", "test")


class Part(NamedTuple):
    """One file: its split, its number there, and the samples of the data set that are to go into it."""

    split: str
    number: int
    index: Tensor

    @property
    def file(self) -> str:
        return f"{self.split}-{self.number:05d}.safetensors"


@torch.no_grad()
def encoded_parts(
    autoencoder: Autoencoder,
    sets: Mapping[str, Samples],
    parts: Sequence[Part],
    precision: torch.dtype,
    *,
    batch_size: int,
    workers: int,
    show: bool,
) -> Iterator[tuple[Part, dict[str, Any]]]:
    """Each part with its rows: tensors by name, captions, and the squared error of what is held out.

    Args:
        autoencoder: On its device.
        sets: The data set, by split.
        parts: In their order, those of a split together.
        precision: Of the latents.
        batch_size: Images that are encoded at once; they begin anew with every part, so that it is the same whenever it
            is encoded.
        workers: Processes that read a data set that is not held in memory.
        show: Show a progress bar.
    Raises:
        ValueError: if latents are not finite in that precision.
    """
    device = next(autoencoder.parameters()).device
    total = sum(len(part.index) for part in parts)
    with tqdm(total=total, desc="encoding", unit="image", disable=None if show else True) as bar:
        for split, dataset in sets.items():
            ours = [part for part in parts if part.split == split]
            chunks = [(part, index) for part in ours for index in part.index.split(batch_size)]
            choose = [index for _, index in chunks].__getitem__
            feed = data.batches(dataset, choose, 0, len(chunks), device, workers)
            rows: list[dict[str, Tensor]] = []
            for (part, index), (images, labels) in zip(chunks, feed, strict=True):
                failed = getattr(dataset, "failed", {})  # another sample is in the place of one that cannot be read
                good = torch.tensor([number not in failed for number in index.tolist()])
                images, mirrored = images[good.to(device)], dataset.flip and split == "train"
                found = _latents(autoencoder, images, mirrored, precision)
                if split == "test":
                    found["squared_error"] = squared_error(autoencoder, images, found["mean"])[None]
                found["index"] = index[good]
                if labels is not None:
                    found["labels"] = labels[good.to(labels.device)].cpu()
                rows.append(found)
                bar.update(len(index))
                if int(index[-1]) == int(part.index[-1]):
                    together: dict[str, Any] = {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
                    rows = []
                    yield part, _described(together, dataset)


def _latents(autoencoder: Autoencoder, images: Tensor, mirrored: bool, precision: torch.dtype) -> dict[str, Tensor]:
    """Means and standard deviations as they are kept, of images and of their mirror images."""
    found = {}
    for prefix, each in (("", images), ("mirrored.", images.flip(-1)))[: 1 + mirrored]:
        mean, std = autoencoder.encode(each) if len(each) else [_none(autoencoder, each)] * 2
        found |= {f"{prefix}mean": mean.to(precision).cpu(), f"{prefix}std": std.to(precision).cpu()}
    if not all(each.isfinite().all() for each in found.values()):
        hint = "; take precision=float32" if precision is torch.float16 else ""
        raise ValueError(f"there are latents that are not finite in {str(precision).removeprefix('torch.')}{hint}")
    return found


def _none(autoencoder: Autoencoder, images: Tensor) -> Tensor:
    """The latents of no images, of which networks do not know what to make."""
    return images.new_empty(0, *autoencoder.latent_shape(images.shape[1:]))


def squared_error(autoencoder: Autoencoder, images: Tensor, latents: Tensor) -> Tensor:
    """The sum of the squared errors of all pixels, in [-1, 1], of images decoded from latents; shape (), float64."""
    if not len(images):
        return torch.zeros((), dtype=torch.float64)
    decoded = autoencoder.decode(latents.to(images.device).float()).clamp(-1, 1)
    return (decoded - images).square().sum(dtype=torch.float64).cpu()


def _described(rows: dict[str, Any], dataset: Samples) -> dict[str, Any]:
    """With what else is known of the samples."""
    index = rows["index"]
    rows |= {f"attribute.{name}": each.values[index] for name, each in dataset.attributes.items()}
    if dataset.captions is not None:
        rows["captions"] = [dataset.captions[number] for number in index.tolist()]
    return rows
