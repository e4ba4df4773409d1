"""``fg.load_pretrained``: from a published file or folder to a model."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..devices import device_of
from ..fields import NetworkField, NetworkPosterior
from .base import Imported, formats
from .files import read_tensors
from .folder import read_folder
from .pickles import read_pickle


def load_pretrained(
    file: str | Path, format: str, device: torch.device | str = "auto", **options: Any
) -> NetworkField | NetworkPosterior:
    """A published model, ready for any guidance and solver.

    Args:
        file: As it was published: ``.pt``, of which only tensors are read, or ``.safetensors``; or a folder of such a
            file and ``config.json``, for the formats of diffusers; or EDM's ``.pkl``.
        format: Whose it is: "adm", "edm", "dit", "sit", "diffusers_dit", "diffusers_unet", ...
        device: Where to put it; "auto" is the GPU if there is one.
        **options: Of the format: what its files do not tell (``flowguide list formats``).
    Returns:
        A NetworkField, or a NetworkPosterior if it classifies noisy states, in evaluation mode and without gradients.
    Raises:
        ValueError: if there is no such file or device, it holds more than tensors, or these are not those of one
            architecture.
    """
    place = device_of(str(device))
    return read(file, format, **options).build().to(place)


def read(file: str | Path, format: str, **options: Any) -> Imported:
    """What a published file comes to; arguments and errors as for :func:`load_pretrained`."""
    given = _given(Path(file), formats.parameters(format))
    try:
        return formats.build(format, *given, **options)
    except ValueError as error:
        raise ValueError(f"{file} cannot be read as {format}: {error}") from None


def _given(file: Path, parameters: Mapping[str, inspect.Parameter]) -> tuple[Any, ...]:
    """What a format with these parameters is given of a file: tensors, and a config if it takes one."""
    config = parameters.get("config")
    if config is None:
        return (read_tensors(file),)
    if config.default is inspect.Parameter.empty:
        return read_folder(file)
    return read_pickle(file) if file.suffix == ".pkl" else (read_tensors(file),)
