"""``fg.load_pretrained``: from a published file or folder to a model."""

from pathlib import Path
from typing import Any

import torch

from ..fields import NetworkField, NetworkPosterior
from .base import Imported, formats
from .files import read_tensors
from .folder import read_folder


def load_pretrained(
    file: str | Path, format: str, device: torch.device | str = "auto", **options: Any
) -> NetworkField | NetworkPosterior:
    """A published model, ready for any guidance and solver.

    Args:
        file: As it was published: ``.pt``, of which only tensors are read, or ``.safetensors``; or a folder of such a
            file and ``config.json``, for the formats of diffusers.
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
    takes_config = "config" in formats.parameters(format)
    given = read_folder(Path(file)) if takes_config else (read_tensors(Path(file)),)
    try:
        return formats.build(format, *given, **options)
    except ValueError as error:
        raise ValueError(f"{file} cannot be read as {format}: {error}") from None
