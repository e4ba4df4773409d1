"""Tensors of which every rank holds a share (DTensor), and those that are whole, treated alike."""

import torch
from torch import Tensor


def is_share(tensor: Tensor) -> bool:
    """Whether this rank holds but a share of the tensor."""
    return hasattr(tensor, "placements")  # to ask for the class would import it, which takes a second


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor, on every rank; where each holds a share, all have to ask."""
    return tensor.full_tensor() if is_share(tensor) else tensor


@torch.no_grad()
def filled(ours: Tensor, source: Tensor) -> Tensor:
    """``ours`` with the numbers of a whole tensor, of which a share takes its part; it lies in memory as it lay."""
    source = source.to(ours.device, ours.dtype)
    if not is_share(ours):
        return ours.copy_(source)
    from torch.distributed.tensor import distribute_tensor

    # Every rank has read the source for itself: nothing needs to be sent.
    share = distribute_tensor(source, ours.device_mesh, ours.placements, src_data_rank=None)
    ours.to_local().copy_(share.to_local())
    return ours
