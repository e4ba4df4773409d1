"""Within ``torch.inference_mode`` nothing can be differentiated, and rules and likelihoods differentiate fields."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

R = TypeVar("R")


def outside_inference_mode(function: Callable[..., R]) -> Callable[..., R]:
    """The function with ``torch.inference_mode`` left, and tensors of that mode, which have no gradients, copied."""

    @functools.wraps(function)
    def outside(*args: Any, **options: Any) -> R:
        if not torch.is_inference_mode_enabled():
            return function(*args, **options)
        with torch.inference_mode(False), torch.no_grad():
            args = tuple(map(_ordinary, args))
            return function(*args, **{name: _ordinary(value) for name, value in options.items()})

    return outside


def _ordinary(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) and value.is_inference() else value
