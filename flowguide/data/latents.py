"""Latents of images, as ``flowguide encode`` wrote them: mapped into memory, normalised, decoded after sampling."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..devices import sent
from ..randomness import normal
from .base import Attribute, Samples, Split, datasets
from .files import folder_of
from .latent_folder import Manifest, Shard, read_manifest
from .streamed import MEMORY_LIMIT

_SEED = 0  # of the draws from the posteriors; never to be changed: runs go on across versions


@dataclass(frozen=True)
class Latents(Samples):
    """Labelled latents, read from the files that hold them a batch at a time.

    What was read lately stays in the memory of the operating system and belongs to no process, so that several that
    train on one machine share it.

    Attributes:
        manifest: Of the folder.
        tensors: Of each shard, by name, mapped into memory.
        sample: Whether a batch holds draws from the posteriors, in place of their means.
        device: Where batches come.
        follows: See :class:`Samples`.
        The rest: see :class:`Samples`. Mirror images, if there are any, are samples of their own, after all others.
    """

    name: str
    manifest: Manifest
    tensors: Sequence[Mapping[str, Tensor]] = field(repr=False)
    labels: Tensor | None
    captions: Sequence[str] | None = None
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    num_classes: int | None = None
    classes: Sequence[str] | None = None
    sample: bool = False
    device: torch.device | str = "cpu"
    follows: Mapping[str, Any] = field(default_factory=dict)
    flip: bool = False

    def __post_init__(self) -> None:
        self._check()

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample."""
        return tuple(self.manifest.shape)

    def __len__(self) -> int:
        return sum(len(each[name]) for each in self.tensors for name in ("mean", "mirrored.mean") if name in each)

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor | None]:
        """See :meth:`Samples.batch`: the means of the latents, or draws, of unit variance in every channel."""
        moments = self.manifest.moments
        labels = None if self.labels is None else self.labels[sent(index, self.labels.device)]
        mean, *std = self._rows(index.cpu(), ("mean", "std") if self.sample else ("mean",))
        centre, scale = (
            sent(torch.tensor(each, dtype=torch.float32), self.device)[:, None, None]
            for each in (moments.mean, moments.scale(self.sample))
        )
        if std:  # one draw for each sample, always the same
            noise = normal(mean.shape, _SEED, first=sent(index, self.device), device=self.device)
            mean = mean + std[0] * noise
        return (mean - centre) / scale, labels

    def to(self, device: torch.device | str) -> "Latents":
        """The same, whose batches come on another device."""
        return replace(self, labels=None if self.labels is None else self.labels.to(device), device=device)

    def _rows(self, index: Tensor, names: Sequence[str]) -> list[Tensor]:
        """Rows of the tensors of these names, each of shape (B, *), float32, on the device."""
        sizes = torch.tensor([len(each["mean"]) for each in self.tensors])
        count = int(sizes.sum())
        starts, mirrored, index = sizes.cumsum(0) - sizes, index >= count, index % count
        shard = torch.bucketize(index, starts[1:], right=True)
        options = {"dtype": self.tensors[0]["mean"].dtype, "pin_memory": torch.device(self.device).type == "cuda"}
        found = [torch.empty((len(index), *self.shape), **options) for _ in names]
        for number in shard.unique().tolist():
            for prefix, chosen in (("", (shard == number) & ~mirrored), ("mirrored.", (shard == number) & mirrored)):
                rows = index[chosen] - starts[number]
                for name, place in zip(names, found, strict=True):
                    if len(rows):
                        place[chosen] = self.tensors[number][prefix + name][rows]
        return [sent(each, self.device).float() for each in found]


@datasets.register("latents")
def latents(
    split: Split = "train",
    *,
    folder: str,
    sample: bool = False,
    verify: bool | None = None,
    digest: str | None = None,
) -> Latents:
    """Latents that 'flowguide encode' wrote, of zero mean and unit variance in every channel; samples are decoded.

    The latents of mirror images, if there are any, are samples of their own, so that training sees either as often.

    Args:
        split: "train" or "test".
        folder: What was written.
        sample: Draw from the Gaussian that the autoencoder gives for each image, once for all, in place of its mean.
        verify: Read all files for their checksums; null to do so only if they are less than 2 GiB.
        digest: Of the autoencoder and the statistics of the latents, which training fills in; others are refused.
    """
    where = folder_of(folder)
    manifest = read_manifest(where)
    check_digest(manifest, digest, folder)
    shards = manifest.shards[split]
    whole = sum(shard.bytes for shard in shards) < MEMORY_LIMIT if verify is None else verify
    for shard in shards:
        shard.check(where, whole)
    opened = [_open(where / shard.file, shard) for shard in shards]
    tensors = [each for each, _ in opened if len(each["mean"])]
    copies = 2 if manifest.flip and split == "train" else 1
    labels = _together(tensors, "labels", copies)
    captions = [caption for _, some in opened for caption in some] * copies
    attributes = {
        name: Attribute(_together(tensors, f"attribute.{name}", copies), names)
        for name, names in manifest.attributes.items()
    }
    return Latents(
        f"latents ({split})",
        manifest,
        tensors,
        labels,
        captions or None,
        attributes,
        manifest.num_classes,
        None if manifest.classes is None else tuple(manifest.classes),
        sample,
        follows={"digest": manifest.digest},
    )


def check_digest(manifest: Manifest, digest: str | None, folder: str) -> None:
    """ValueError unless the latents are those that the digest is of, or there is none."""
    if digest is not None and digest != manifest.digest:
        raise ValueError(
            f"{folder} holds latents of another autoencoder, or of other data, than the run was trained on (sha256 "
            f"{manifest.digest[:12]}, not {digest[:12]})"
        )


def _open(file: Path, shard: Shard) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of a shard, mapped into memory, and its captions."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as tensors:
            found = {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118, it is no dictionary
            captions = json.loads((tensors.metadata() or {}).get("captions", "[]"))
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{file} is damaged ({error}): remove it, and encode again into the same folder") from None
    if "mean" not in found or len(found["mean"]) != shard.samples:
        raise ValueError(f"{file} does not hold the {shard.samples} samples that the manifest says: encode again")
    return found, captions


def _together(tensors: Sequence[Mapping[str, Tensor]], name: str, copies: int) -> Any:
    """Rows of all shards, once or twice; None if they have none of that name."""
    if not tensors or name not in tensors[0]:
        return None
    return torch.cat([each[name] for each in tensors] * copies)
