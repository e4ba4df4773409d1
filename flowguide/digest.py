"""Names for things by what they are: the same settings, or the same weights, have the same digest."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def digest_of(settings: Any) -> str:
    """SHA-256 of JSON-compatible settings, in hex."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def digest_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of named tensors, in hex."""
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def digest_of_module(module: nn.Module) -> str:
    """SHA-256 of all that a module holds in tensors, in hex: its state, and what it and its parts keep beside that.

    A rule keeps an observation so, which a file may hold that becomes another.
    """
    held = dict(module.state_dict())
    for place, part in module.named_modules():
        for name, value in vars(part).items():
            inner = {"": value} if isinstance(value, Tensor) else getattr(value, "__dict__", {})
            held |= {f"{place}.{name}.{key}": each for key, each in inner.items() if isinstance(each, Tensor)}
    return digest_of_tensors(held)
