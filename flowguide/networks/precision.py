"""The floating type of a network's numbers, and what to say to numbers of another."""

import torch
from torch import Tensor, nn

_CALLS = {torch.float16: "half()", torch.bfloat16: "bfloat16()", torch.float32: "float()", torch.float64: "double()"}


def of_another_type(network: nn.Module, x: Tensor, error: RuntimeError) -> str | None:
    """A sentence, if an error came of giving a network numbers of another floating type than its parameters.

    Asked for when there was one: some networks take several types, and under autocast most do.

    Args:
        network: With its parameters.
        x: What it was given.
        error: What came of it.
    """
    ours = next((p.dtype for p in network.parameters() if p.is_floating_point()), x.dtype)
    if ours == x.dtype or "type" not in str(error):
        return None
    mine, theirs = (str(dtype).removeprefix("torch.") for dtype in (ours, x.dtype))
    calls = (_CALLS.get(dtype, f"to({dtype})") for dtype in (ours, x.dtype))
    return "the network's parameters are {}, and it was given {}: give it x.{}, or call model.{}".format(
        mine, theirs, *calls
    )
