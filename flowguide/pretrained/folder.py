"""A network as diffusers saves it: a folder of ``config.json``, which says what it is, and of files of tensors.

====================================================  ==========================================================
``config.json``                                       read as data: no class that it names is ever looked up
``diffusion_pytorch_model.safetensors`` or ``.bin``   all tensors; ``.safetensors`` goes first if there are both
``....safetensors.index.json``, ``....bin.index.json``  which of several files, beside it, holds each tensor
====================================================  ==========================================================

Its ``_class_name`` and every option of the network are entries of the config; which of them there are, and what is
meant where one is absent, is for the format to know (:mod:`flowguide.pretrained`).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from .files import read_tensors

_STEM = "diffusion_pytorch_model"


def read_folder(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a folder by name, and its config.

    Args:
        folder: Where ``config.json`` is; or the file of tensors beside it, where there are several.
    Raises:
        ValueError: if there is no config or no tensors, or one of the files cannot be read.
    """
    file = None if folder.is_dir() else folder
    if file is not None and not file.is_file():
        raise ValueError(f"there is no folder {folder}, and no file")
    folder = folder if file is None else file.parent
    if not (folder / "config.json").is_file():
        pipeline = (
            "; of a whole pipeline, name the folder of the network in it" * (folder / "model_index.json").is_file()
        )
        raise ValueError(f"there is no config.json in {folder}, which says what network its tensors are of{pipeline}")
    config = _read_json(folder / "config.json")
    file = _file_of_tensors(folder) if file is None else file
    return _read_shards(file) if file.suffix == ".json" else read_tensors(file), config


def _file_of_tensors(folder: Path) -> Path:
    """The file that a folder's tensors are in, or the index of several."""
    found = []
    for ending in ("safetensors", "safetensors.index.json", "bin", "bin.index.json"):
        if (folder / f"{_STEM}.{ending}").is_file():
            return folder / f"{_STEM}.{ending}"
        found += sorted(folder.glob(f"{_STEM}*.{ending}"))
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise ValueError(
            f"{folder} should hold {_STEM}.safetensors or .bin, or one file like these, and holds {names}: "
            f"name the file itself"
        )
    return found[0]


def _read_shards(index: Path) -> dict[str, Tensor]:
    """The tensors of all files that an index names."""
    places = _read_json(index).get("weight_map")
    if not isinstance(places, Mapping) or not places:
        raise ValueError(f"{index} has no weight_map, which says which file holds each tensor")
    tensors: dict[str, Tensor] = {}
    for name in sorted(set(map(str, places.values()))):
        if name != Path(name).name:
            raise ValueError(f"{index} names the file {name}, which is not beside it: only those that are get read")
        tensors |= read_tensors(index.parent / name)
    for name, file in places.items():
        if name not in tensors:
            raise ValueError(f"{index} says that {file} holds {name}, and it does not")
    return tensors


def _read_json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is no JSON ({str(error).splitlines()[0]})") from None
    if not isinstance(found, dict):
        raise ValueError(f"{file} holds a {type(found).__name__}, and not entries by name")
    return found
