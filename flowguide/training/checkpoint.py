"""Checkpoints: tensors in safetensors, and beside them the JSON that names the components they belong to.

Nothing in a checkpoint is ever run: components are looked up by their registered names. One is written under another
name, flushed to the disk and then renamed, so that what has a checkpoint's name is a whole checkpoint. It is

- a file, ``step-00001000.safetensors``, the JSON in its header; or
- where every rank holds a share of each tensor, a folder, ``step-00001000``, to which each has written its own by
  torch's distributed checkpoint, and ``meta.json``. It reads as the file does, on any number of ranks.
"""

import json
import os
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from .ranks import Ranks

FORMAT = 1
_KEY = "flowguide"
_SHARES = "DCP_SHARDING_INFO"  # where torch's distributed checkpoint notes the place of a share in its tensor


class Unwritten(OSError):
    """A checkpoint could not be written, for want of space or of permission; the ones before are as they were."""


class Newer(ValueError):
    """A checkpoint is of a format that a later flowguide wrote: not damaged, and not to be written over."""


def write(file: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically, as a file.

    Args:
        file: Its name.
        tensors: What to keep.
        meta: JSON-compatible facts, the configuration among them.
    Raises:
        Unwritten: if it could not be.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    part = file.with_name(f".{file.name}.part")
    # By way of the host: a change of layout on the device would be a second copy there.
    contiguous = _apart({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    try:
        save_file(contiguous, part, metadata={_KEY: json.dumps({"format": FORMAT, **meta})})
        _flush(part)
        os.replace(part, file)
    except (SafetensorError, OSError) as error:
        raise Unwritten(f"{file} could not be written: {error}") from None
    finally:
        part.unlink(missing_ok=True)


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same, none of which lies in the memory of another, as those of a weight with two names do."""
    found: dict[str, Tensor] = {}
    places: set[int] = set()
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        found[name] = tensor.clone() if place in places else tensor
        places.add(place)
    return found


def write_shares(folder: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], ranks: Ranks) -> None:
    """Write a checkpoint atomically, as a folder, every rank its share; all of them have to call.

    Args:
        folder: Its name.
        tensors: What to keep, of which each rank may hold a share.
        meta: JSON-compatible facts, the configuration among them.
        ranks: Who writes.
    Raises:
        Unwritten: if it could not be, by any of them.
    """
    from torch.distributed import checkpoint as distributed

    part = folder.with_name(f".{folder.name}.part")
    if ranks.first:
        shutil.rmtree(part, ignore_errors=True)
    ranks.wait()
    error: BaseException | None = None
    try:
        writer = distributed.HuggingFaceStorageWriter(str(part), save_distributed=True)
        distributed.save(dict(tensors), storage_writer=writer)
        if ranks.first:
            (part / "meta.json").write_text(json.dumps({"format": FORMAT, **meta}))
            for file in part.iterdir():
                _flush(file)
    except OSError as failure:
        error = failure
    except distributed.CheckpointException as failure:  # whose words are the tracebacks of all ranks
        error = next((each for each, _ in failure.failures.values()), failure)
    failed = ranks.any(error is not None)
    if ranks.first:
        try:
            if not failed:
                if folder.exists():  # damaged, or it would have been gone on from
                    remove(folder)
                os.replace(part, folder)
        except OSError as failure:
            error = failure
        shutil.rmtree(part, ignore_errors=True)
    if ranks.any(error is not None):
        raise Unwritten(f"{folder} could not be written: {error or 'another rank says why'}")


def _flush(file: Path) -> None:
    """To the disk, before its name says that it is whole."""
    with file.open("rb") as written:
        os.fsync(written.fileno())


def is_checkpoint(path: Path) -> bool:
    """Whether a path looks like a checkpoint, and not like the folder of a run."""
    return path.is_file() or (path / "meta.json").is_file()


def remove(path: Path) -> None:
    """Remove a checkpoint, of either form."""
    if not path.is_dir():
        path.unlink()
        return
    # Renamed first: with half of its files it would still look like one.
    gone = path.with_name(f".{path.name}.gone")
    os.replace(path, gone)
    shutil.rmtree(gone, ignore_errors=True)


def begun(folder: Path) -> list[Path]:
    """What a process that was killed had begun to write into a folder, or to remove from it."""
    # Safetensors, too, writes under a name of its own first: .tmpXXXXXX.
    return [path for pattern in (".*.part", ".*.gone", ".tmp??????") for path in folder.glob(pattern)]


def read_meta(path: Path) -> dict[str, Any]:
    """The JSON of a checkpoint; ValueError that says what is wrong if it is not a whole one of ours."""
    from safetensors import SafetensorError

    if not is_checkpoint(path):
        raise ValueError(f"there is no checkpoint {path}")
    try:
        metadata = {}
        for file in _files(path):
            with _opened(file) as opened:
                metadata = opened.metadata() or {}
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a whole checkpoint: it is truncated or no safetensors file ({error})"
        ) from None
    try:
        meta = json.loads((path / "meta.json").read_text() if path.is_dir() else metadata[_KEY])
        version = meta["format"]
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{path} is a safetensors file, but not a checkpoint written by flowguide") from None
    if version != FORMAT:
        words = f"{path} has checkpoint format {version}; this flowguide reads format {FORMAT}"
        if isinstance(version, int) and version > FORMAT:
            raise Newer(f"{words}: a newer one wrote it, so update flowguide")
        raise ValueError(words)
    return meta


class Stored(Mapping[str, Tensor]):
    """The tensors of a checkpoint, whole, each read when it is asked for.

    Args:
        path: Of the checkpoint.
        prefix: What their names begin with; it is taken off.
    """

    def __init__(self, path: Path, prefix: str = "") -> None:
        self._prefix = prefix
        self._places: dict[str, list[tuple[Path, list[int]]]] = defaultdict(list)
        for file in _files(path):
            with _opened(file) as opened:
                offsets = json.loads((opened.metadata() or {}).get(_SHARES, "{}"))
                for name in opened.keys():  # noqa: SIM118, it is no dictionary
                    if name.startswith(prefix):
                        place = file, offsets.get(name, {}).get("saved_offsets", [])
                        self._places[name.removeprefix(prefix)].append(place)

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._places:
            raise KeyError(name)
        shares = []
        for file, offsets in self._places[name]:
            with _opened(file) as opened:
                shares.append((opened.get_tensor(self._prefix + name), offsets))
        if len(shares) == 1:
            return shares[0][0]
        shape = [max(ends) for ends in zip(*(map(sum, zip(s.shape, at, strict=True)) for s, at in shares), strict=True)]
        whole = shares[0][0].new_empty(shape)
        for share, offsets in shares:
            window = tuple(slice(at, at + size) for at, size in zip(offsets, share.shape, strict=True))
            whole[window] = share
        return whole


def read_tensors(path: Path, prefix: str = "") -> Stored:
    """The tensors of a checkpoint whose names begin with ``prefix``, which is taken off."""
    return Stored(path, prefix)


def _files(path: Path) -> list[Path]:
    return sorted(path.glob("*.safetensors")) if path.is_dir() else [path]


def _opened(file: Path) -> Any:
    from safetensors import safe_open

    return safe_open(file, framework="pt")
