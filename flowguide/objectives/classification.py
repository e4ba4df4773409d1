"""Cross-entropy of a classifier of clean data, which metrics need."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..networks import Classifier
from .base import Objective, objectives


@objectives.register("classification")
class Classification(Objective):
    """Cross-entropy of a classifier's logits, on images shifted at random.

    Args:
        shift: Largest shift in pixels, in each direction; what moves in is the border repeated.
        label_smoothing: Share of the target that is spread over all classes, in [0, 1).
    """

    trains = Classifier

    def __init__(self, shift: int = 0, label_smoothing: float = 0.0) -> None:
        if shift < 0:
            raise ValueError(f"shift is a number of pixels, at least 0, not {shift}")
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing is in [0, 1), not {label_smoothing}")
        self.shift = shift
        self.label_smoothing = label_smoothing

    def losses(self, model: nn.Module, data: Tensor, cond: Tensor | None, generator: torch.Generator | None) -> Tensor:
        if cond is None:
            raise ValueError("a classifier needs labels, and this data set has none")
        logits = model(shifted(data, self.shift, generator) if self.shift else data)
        return functional.cross_entropy(logits, cond, reduction="none", label_smoothing=self.label_smoothing)


def shifted(images: Tensor, pixels: int, generator: torch.Generator | None) -> Tensor:
    """Each image (B, C, H, W) moved by its own random offset of up to ``pixels``, the border repeated."""
    batch, _, height, width = images.shape
    padded = functional.pad(images, (pixels,) * 4, mode="replicate")
    offsets = torch.randint(2 * pixels + 1, (2, batch, 1), generator=generator, device=images.device)
    rows = offsets[0] + torch.arange(height, device=images.device)
    columns = offsets[1] + torch.arange(width, device=images.device)
    sample = torch.arange(batch, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[sample, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
