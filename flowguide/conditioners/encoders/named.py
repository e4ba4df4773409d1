"""An encoder by its name: a registered one, a folder, a Python package that holds one, or a name on the hub."""

import importlib.resources
import importlib.util
from pathlib import Path

from .base import Encoder, encoders
from .pretrained import Pretrained


def open_encoder(name: str) -> Encoder:
    """The encoder called ``name``.

    Args:
        name: Of a registered encoder; of a folder that transformers can read; of an installed Python package that has
            such a folder, ``model``, in it; or on the Hugging Face hub.
    Raises:
        ValueError: if there is none, or what reads it is not installed.
    """
    if name in encoders.names():
        return encoders.build(name)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return Pretrained(folder, name)
    if (inside := _in_package(name)) is not None:
        return Pretrained(inside, name)
    if folder.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:  # no name on the hub
        raise ValueError(f"there is no folder {name} with a text encoder")
    return Pretrained(name, name)


def _in_package(name: str) -> Path | None:
    """The folder ``model`` of an installed package, under its name in Python or that in a package index."""
    module = name.replace("-", "_")
    if not module.isidentifier() or importlib.util.find_spec(module) is None:
        return None
    try:
        inside = importlib.resources.files(module) / "model"
    except TypeError:  # a module that is no package
        return None
    return Path(str(inside)) if (inside / "config.json").is_file() else None
