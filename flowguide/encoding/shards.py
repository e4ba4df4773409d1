"""The writing of a file of latents, and the note beside it that says that it is whole."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from ..data.latent_folder import Moments, Shard, sha256, write_json
from ..training.checkpoint import begun


def write_shard(file: Path, rows: Mapping[str, Any]) -> Shard:
    """Write a file, and then the note of it.

    Args:
        file: Its name.
        rows: Tensors by name; ``captions``, a list; and ``squared_error``, which goes into the note alone.
    Raises:
        ValueError: if there is no room for it.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {name: each.contiguous() for name, each in rows.items() if name not in ("captions", "squared_error")}
    error = float(rows["squared_error"].sum()) if "squared_error" in rows else None
    part = file.with_name(f".{file.name}.part")
    try:
        save_file(tensors, part, {"captions": json.dumps(rows["captions"])} if "captions" in rows else None)
        with part.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(part, file)
    except (SafetensorError, OSError) as error:
        part.unlink(missing_ok=True)
        raise ValueError(
            f"{file} could not be written: {error}. Those before it are whole; make room, and the same command goes on"
        ) from None
    shard = Shard(file.name, len(tensors["mean"]), file.stat().st_size, sha256(file), moments_of(tensors), error)
    note(file.parent, shard)
    return shard


def note(folder: Path, shard: Shard) -> None:
    """Write what there is to say of a file that is whole."""
    write_json(_note(folder / shard.file), asdict(shard))


def moments_of(tensors: Mapping[str, Tensor]) -> Moments:
    """Of the latents in a file as they are written, mirror images among them."""
    several = []
    for prefix in ("", "mirrored."):
        if f"{prefix}mean" in tensors:
            mean, std = (tensors[f"{prefix}{name}"].double().transpose(0, 1).flatten(1) for name in ("mean", "std"))
            centre = mean.sum(1) / max(mean.shape[1], 1)
            squares = (mean - centre[:, None]).square().sum(1)
            variance = std.square().sum(1) / max(mean.shape[1], 1)
            several.append(Moments(mean.shape[1], centre.tolist(), squares.tolist(), variance.tolist()))
    return Moments.together(several)


def finished(folder: Path, name: str) -> Shard | None:
    """What the note of a file says, if the file is whole; None if it is not, or there is no note."""
    try:
        shard = Shard.of(json.loads(_note(folder / name).read_text()))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return shard if shard.is_in(folder) else None


def clear(folder: Path, notes: bool = False) -> None:
    """Remove what a process that was killed had begun to write; and the notes, once the manifest holds them all."""
    for file in begun(folder):
        file.unlink()
    for pattern in ("train-?????*.json", "test-?????*.json") if notes else ():
        for file in folder.glob(pattern):
            file.unlink()


def _note(file: Path) -> Path:
    return file.with_suffix(".json")
