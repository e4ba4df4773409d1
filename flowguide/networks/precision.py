"""The floating type of a network's numbers, and what to say to numbers of another."""

from typing import Any

import torch
from torch import Tensor, nn

_CALLS = {torch.float16: "half()", torch.bfloat16: "bfloat16()", torch.float32: "float()", torch.float64: "double()"}


def of_another_type(network: nn.Module, error: RuntimeError, **given: Any) -> str | None:
    """A sentence, if an error came of giving a network numbers of another floating type than its parameters.

    Asked for when there was one: some networks take several types, and under autocast most do.

    Args:
        network: With its parameters.
        error: What came of it.
        **given: What it was given, by name; all but floating-point tensors is left aside.
    """
    ours = next((p.dtype for p in network.parameters() if p.is_floating_point()), None)
    if ours is None or "type" not in str(error):
        return None
    for name, each in given.items():
        if isinstance(each, Tensor) and each.is_floating_point() and each.dtype != ours:
            mine, theirs = (str(dtype).removeprefix("torch.") for dtype in (ours, each.dtype))
            this, that = (_CALLS.get(dtype, f"to({dtype})") for dtype in (ours, each.dtype))
            return (
                f"the network's parameters are {mine}, and it was given {name} of {theirs}: give it {name}.{this}, or "
                f"call model.{that}"
            )
    return None
