"""The devices of this machine by their names."""

import torch


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
