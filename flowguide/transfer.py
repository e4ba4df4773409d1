"""Small tensors on their way to the device: times, indices, weights of steps."""

import torch
from torch import Tensor


def sent(values: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """The values on a device, in a dtype of their own if none is named; the host does not wait for the device.

    A copy to a GPU that waits would wait for all that the GPU has been asked to do, once for every step that needs a
    time or an index. This one may be read at once by whatever is computed there, and the host's values may be let go
    of. From a device to the host there is nothing to gain: whoever looks at numbers has to wait for them.
    """
    return values.to(device, dtype or values.dtype, non_blocking=values.device.type == "cpu")
