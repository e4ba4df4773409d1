"""Names for things by what they are: the same settings, or the same weights, have the same digest."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


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
