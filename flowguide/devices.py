"""The devices of this machine by their names, and how small tensors travel there: times, indices, weights of steps."""

import torch
from torch import Tensor


def device_of(name: str) -> torch.device:
    """The torch device called ``name``; "auto" is the GPU if there is one. ValueError if it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise ValueError(f"there is no device {name!r} here; try device=auto or device=cpu") from None
    return device


def sent(values: Tensor, device: torch.device | str, dtype: torch.dtype | None = None) -> Tensor:
    """The values on a device, in a dtype of their own if none is named; the host does not wait for the device.

    A copy to a GPU that waits would wait for all that the GPU has been asked to do, once for every step that needs a
    time or an index. This one may be read at once by whatever is computed there, and the host's values may be let go
    of; not so on Apple's GPUs, which would read them late. From a device to the host there is nothing to gain: whoever
    looks at numbers has to wait for them.
    """
    at_once = values.device.type == "cpu" and torch.device(device).type != "mps"
    return values.to(device, dtype or values.dtype, non_blocking=at_once)
