"""Latents of both splits of a data set, in shards: written once, and what was written is not written again.

A shard holds the latents of a range of the data set. It is written under another name and renamed when it is whole, and
only then a note of it is; a run that was killed goes on with the first shard without a note.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from .. import data, training
from ..data import Samples
from ..data.latent_folder import AUTOENCODER, MANIFEST, Manifest, Shard, read_manifest
from ..networks import Autoencoder
from ..options import check_options
from ..training.claim import NAME, Claim
from .rows import SPLITS, Part, encoded_parts
from .shards import clear, finished, note, write_shard
from .source import load_autoencoder

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EncodeConfig:
    """What ``recipes/base/encode.yaml`` may say, resolved.

    Attributes:
        autoencoder: A run folder or checkpoint; or a folder of diffusers, or its name on the hub.
        out: Where the latents go.
        data: Node of the data set to encode; None for the one that the autoencoder was trained on.
        precision: Of the numbers that are kept.
        shard_size: Samples of the data set in one file.
        batch_size: Images that are encoded at once.
        workers: Processes that read a data set that is not held in memory.
        device, ema, imports: Where, with which weights (see :func:`flowguide.load`), with whose components.
    """

    autoencoder: str
    out: str
    data: Mapping[str, Any] | None = None
    precision: Literal["float16", "float32"] = "float16"
    shard_size: int = 4096
    batch_size: int = 64
    workers: int = 4
    device: str = "auto"
    ema: bool | float = True
    imports: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name, least in {"shard_size": 1, "batch_size": 1, "workers": 0}.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}")

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "EncodeConfig":
        """From nested settings; ValueError naming the first that is unknown, missing or of the wrong type."""
        return cls(**check_options("the command", cls, (), settings))


def encode(config: EncodeConfig, show: bool = True) -> Manifest:
    """Write the latents of a data set into ``config.out``, or what is missing there, once no one else writes there.

    Under ``torchrun`` each process writes its share of the files.

    Args:
        config: Of what, by what, how.
        show: Show progress.
    Returns:
        The manifest of the folder.
    Raises:
        ValueError: if the autoencoder does not take such data, or the folder holds other latents.
        Interrupted: on Ctrl-C; the same call goes on.
    """
    with training.joined() as ranks:
        return _encode(replace(config, device=ranks.device(config.device)), show and ranks.first, ranks)


def _encode(config: EncodeConfig, show: bool, ranks: training.Ranks) -> Manifest:
    autoencoder = load_autoencoder(config.autoencoder, config.ema, config.device)
    node = config.data or autoencoder.config.data
    if not node:
        raise ValueError(f"which data? {config.autoencoder} does not say what it was trained on: give data=...")
    sets = {split: data.registry.build_from(node, split=split) for split in SPLITS}
    manifest = _planned(config, node, autoencoder, sets)
    folder = Path(config.out)
    _before(folder, manifest)
    ours = Claim(folder)
    ranks.wait()  # for all to have looked before anything is written
    if ranks.first:
        folder.mkdir(parents=True, exist_ok=True)
        ours.take()
    ranks.wait()
    try:
        return _write(config, folder, manifest, autoencoder, sets, show, ranks)
    finally:
        ours.release()


def _write(
    config: EncodeConfig,
    folder: Path,
    manifest: Manifest,
    autoencoder: Autoencoder,
    sets: Mapping[str, Samples],
    show: bool,
    ranks: training.Ranks,
) -> Manifest:
    """Write what is missing in a folder that is ours alone."""
    before = _before(folder, manifest)
    parts = [
        Part(split, number, index)
        for split in SPLITS
        for number, index in enumerate(torch.arange(manifest.counts[split]).split(config.shard_size))
    ]
    kept = {shard.file: shard for shards in before.values() for shard in shards if shard.is_in(folder)}
    left = [part for part in parts if part.file not in kept and finished(folder, part.file) is None]
    ranks.wait()  # for all to have looked before anything is written
    if ranks.first:
        clear(folder, notes=bool(before) and not left)
    if before and not left:
        log.info("%s holds all latents already", folder)
        return read_manifest(folder)
    if ranks.first:
        if len(left) < len(parts):
            log.info("%s: %d of %d files are there already", folder, len(parts) - len(left), len(parts))
        for shard in kept.values():
            note(folder, shard)
        manifest.write(folder)
        _copy(autoencoder, manifest, folder / AUTOENCODER)
    ranks.wait()
    try:
        ours, precision = left[ranks.rank :: ranks.world], getattr(torch, config.precision)
        sizes = {"batch_size": config.batch_size, "workers": config.workers, "show": show}
        for part, rows in encoded_parts(autoencoder, sets, ours, precision, **sizes):
            write_shard(folder / part.file, rows)
    except KeyboardInterrupt:
        raise training.Interrupted("stopped; the same command goes on with the files that are missing") from None
    ranks.wait()
    shards = {split: [finished(folder, part.file) for part in parts if part.split == split] for split in SPLITS}
    manifest = replace(manifest, shards=shards)
    ranks.wait()  # for all to have read the notes
    if ranks.first:
        manifest.write(folder)
        clear(folder, notes=True)
    return manifest


def _planned(
    config: EncodeConfig, node: Mapping[str, Any], autoencoder: Autoencoder, sets: Mapping[str, Samples]
) -> Manifest:
    """What is to be written; ValueError if it cannot be."""
    train = sets["train"]
    try:
        shape = autoencoder.latent_shape(train.shape)
    except ValueError as error:
        raise ValueError(f"{train.name} cannot be encoded: {error}") from None
    return Manifest(
        data=dict(node),
        source=config.autoencoder,
        autoencoder=autoencoder.digest,
        precision=config.precision,
        shard_size=config.shard_size,
        counts={split: len(dataset) for split, dataset in sets.items()},
        image_shape=list(train.shape),
        shape=list(shape),
        num_classes=train.num_classes,
        classes=None if train.classes is None else list(train.classes),
        attributes={name: list(each.names) for name, each in train.attributes.items()},
        flip=train.flip,
    )


def _before(folder: Path, manifest: Manifest) -> Mapping[str, Sequence[Shard]]:
    """The shards that a complete manifest in the folder lists; ValueError if it is of other latents."""
    if not (folder / MANIFEST).is_file():
        if folder.exists() and any(file.name not in (f".{MANIFEST}.part", NAME) for file in folder.iterdir()):
            raise ValueError(f"{folder} is not empty, and holds no latents: choose another folder, out=...")
        return {}
    earlier = read_manifest(folder, complete=False)
    if different := earlier.same_work(manifest):
        raise ValueError(f"{folder} holds latents of {different}: choose another folder, out=..., or remove this one")
    return earlier.shards


def _copy(autoencoder: Autoencoder, manifest: Manifest, file: Path) -> None:
    """A checkpoint of the autoencoder, as that of a run."""
    settings = {**autoencoder.config.settings(), "shape": list(manifest.image_shape)}
    tensors = {f"ema.{name}": tensor for name, tensor in autoencoder.state_dict().items()}
    training.checkpoint.write(file, tensors, {"step": 0, "config": settings})
