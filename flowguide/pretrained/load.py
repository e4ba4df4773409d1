"""``fg.load_pretrained``: from a published file to a model."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..fields import NetworkField, NetworkPosterior
from .base import Imported, formats


def load_pretrained(
    file: str | Path, format: str, device: torch.device | str = "auto", **options: Any
) -> NetworkField | NetworkPosterior:
    """A published model, ready for any guidance and solver.

    Args:
        file: As it was published: ``.pt``, of which only tensors are read, or ``.safetensors``.
        format: Whose it is: "adm", ...
        device: Where to put it; "auto" is the GPU if there is one.
        **options: Of the format: what its files do not tell (``flowguide list formats``).
    Returns:
        A NetworkField, or a NetworkPosterior if it classifies noisy states, in evaluation mode and without gradients.
    Raises:
        ValueError: if there is no such file, it holds more than tensors, or these are not those of one architecture.
    """
    if str(device) == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return read(file, format, **options).build().to(device)


def read(file: str | Path, format: str, **options: Any) -> Imported:
    """What a published file comes to; arguments and errors as for :func:`load_pretrained`."""
    formats.get(format)
    tensors = read_tensors(Path(file))
    try:
        return formats.build(format, tensors, **options)
    except ValueError as error:
        raise ValueError(f"{file} cannot be read as {format}: {error}") from None


def read_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a file, by name; ValueError if it holds anything else."""
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
