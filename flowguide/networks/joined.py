"""Conditions that hold an image: it, a level and a label as one tensor with a row per sample.

One tensor is what samplers cut into batches, rules put together and objectives drop per sample, so that the image goes
wherever the label goes. A level and a label are one more channel each, the same everywhere.
"""

import torch
from torch import Tensor


def joined(image: Tensor, labels: Tensor | None = None) -> Tensor:
    """An image and what else there is to tell, as one tensor.

    Args:
        image: Shape (B, C, h, w).
        labels: Numbers, labels or levels, shape (B,), exact in the image's type; None for nothing.
    Returns:
        Shape (B, C + 1, h, w), or the image if there is nothing else.
    """
    if labels is None:
        return image
    return torch.cat([image, labels.to(image)[:, None, None, None].expand(-1, 1, *image.shape[2:])], dim=1)
