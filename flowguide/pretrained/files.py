"""One file of tensors: torch's or safetensors, of which nothing but tensors is read."""

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor


def read_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a file, by name; ValueError if it holds anything else."""
    if file.is_dir():
        raise ValueError(f"{file} is a folder, and what is read here is one file: name one of those in it")
    if not file.is_file():
        raise ValueError(f"there is no file {file}")
    if file.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(file)
        except SafetensorError as error:
            raise ValueError(f"{file} is truncated or no safetensors file ({error})") from None
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError(
            f"{file} holds more than tensors, or is none of torch's files: nothing of it was run"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise ValueError(f"{file} is truncated or none of torch's files ({str(error).splitlines()[0]})") from None
    if not isinstance(found, Mapping) or not found:
        raise ValueError(f"{file} holds a {type(found).__name__}, and not tensors by name")
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(f"{file} holds more than tensors by name: {name!r} is a {type(value).__name__}")
    return dict(found)
