"""Checkpoint files: tensors in safetensors, and in its header the JSON that names the components they belong to.

Nothing in a checkpoint is ever run: components are looked up by their registered names. A file is written under
another name, flushed to the disk and then renamed, so that a file with a checkpoint's name is a whole checkpoint.
"""

import json
import os
from pathlib import Path
from typing import Any

from torch import Tensor

FORMAT = 1
_KEY = "flowguide"


def write(file: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write a checkpoint atomically.

    Args:
        file: Its name.
        tensors: What to keep.
        meta: JSON-compatible facts, the configuration among them.
    """
    from safetensors.torch import save_file

    part = file.with_name(f".{file.name}.part")
    # On the host first: what is laid out in another order is not copied on its device.
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        save_file(contiguous, part, metadata={_KEY: json.dumps({"format": FORMAT, **meta})})
        with part.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)


def read_meta(file: Path) -> dict[str, Any]:
    """The JSON of a checkpoint; ValueError that says what is wrong if the file is not a whole one of ours."""
    from safetensors import SafetensorError, safe_open

    if not file.is_file():
        raise ValueError(f"there is no checkpoint {file}")
    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
    except SafetensorError as error:
        raise ValueError(
            f"{file} is not a whole checkpoint: it is truncated or no safetensors file ({error})"
        ) from None
    try:
        meta = json.loads(metadata[_KEY])
        version = meta["format"]
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{file} is a safetensors file, but not a checkpoint written by flowguide") from None
    if version != FORMAT:
        raise ValueError(f"{file} has checkpoint format {version}; this flowguide reads format {FORMAT}")
    return meta


def read_tensors(file: Path, prefix: str = "") -> dict[str, Tensor]:
    """The tensors of a checkpoint whose names begin with ``prefix``, which is taken off."""
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        names = [name for name in list(opened.keys()) if name.startswith(prefix)]
        return {name.removeprefix(prefix): opened.get_tensor(name) for name in names}
