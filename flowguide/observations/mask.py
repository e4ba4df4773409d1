r"""Inpainting: some entries are seen, the others are not.

.. math:: A = \mathrm{diag}(m), \qquad m_i \in \{0, 1\}, \qquad A^\top = A = A A^\top.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from ..randomness import uniform
from .base import Observation, observations


@observations.register("mask")
class Mask(Observation):
    """Some entries are seen and the others hidden: inpainting.

    Args:
        hidden: What is hidden: a side, of which ``share`` is; "random" entries; the rectangle "box".
        share: How much is hidden, in (0, 1): of the rows or columns, rounded, or the chance of each entry.
        box: For hidden="box": first row, first column, rows and columns of the rectangle.
        keep: In place of all these, a tensor that is true, or 1, where entries are seen: of a sample's shape, or of
            its last dimensions (an image's rows and columns).
        seed: Of the random entries.
        std: Of the noise of the entries that are seen, at least 0.

    Rows are a sample's last dimension but one, and columns the last; a sample of one dimension has its entries for
    rows. Channels are hidden alike. What is said of hidden entries is not looked at, and may be NaN.
    """

    def __init__(
        self,
        hidden: Literal["bottom", "top", "left", "right", "random", "box"] = "bottom",
        share: float = 0.5,
        box: Sequence[int] | None = None,
        keep: Tensor | None = None,
        seed: int = 0,
        std: float = 0.05,
    ) -> None:
        super().__init__(std)
        if not 0 < share < 1:
            raise ValueError(f"share is how much the mask hides, above 0 and below 1, not {share}")
        if (hidden == "box") != (box is not None) and keep is None:
            raise ValueError("hidden=box and box=[first row, first column, rows, columns] go together")
        if box is not None and (len(box) != 4 or min(box) < 0 or min(box[2:]) < 1):
            raise ValueError(f"box is [first row, first column, rows, columns], not {list(box)}")
        self.hidden, self.share, self.box, self.seed = hidden, share, box, seed
        self.keep = None if keep is None else torch.as_tensor(keep).bool()
        self._masks: dict[tuple, Tensor] = {}

    def mask(self, shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
        """Where entries of samples of ``shape`` are seen, bool, of a shape that broadcasts against them."""
        key = (tuple(shape), device)
        if key not in self._masks:
            self.check(shape)
            self._masks[key] = (self._drawn(shape) if self.keep is None else self.keep).to(device)
        return self._masks[key]

    def check(self, shape: Sequence[int]) -> None:
        shape = tuple(shape)
        if self.keep is not None and tuple(self.keep.shape) != shape[len(shape) - self.keep.ndim :]:
            raise ValueError(
                f"the mask has the shape {tuple(self.keep.shape)} and the samples {shape}: give one of their shape, or "
                f"of their last dimensions"
            )
        rows, columns = shape[-2:] if len(shape) > 1 else (shape[0], 1)
        if self.box is not None and (self.box[0] + self.box[2] > rows or self.box[1] + self.box[3] > columns):
            raise ValueError(f"the box {list(self.box)} is not inside samples of {rows} rows and {columns} columns")
        if self.hidden in ("left", "right") and len(shape) == 1 and self.keep is None:
            raise ValueError(f"samples of shape {shape} have no columns: hide the top or the bottom")

    def __call__(self, x: Tensor) -> Tensor:
        return torch.where(self.mask(x.shape[1:], x.device), x, 0.0)

    def observe(self, x: Tensor, seed: int = 0, *, first: int = 0) -> Tensor:
        return self(super().observe(x, seed, first=first))

    def residual(self, y: Tensor, x: Tensor) -> Tensor:
        return self(y - x)

    def transpose(self, y: Tensor, shape: Sequence[int]) -> Tensor:
        return self(y)

    def solve(self, residual: Tensor, a: Tensor | float, b: Tensor | float, shape: Sequence[int]) -> Tensor:
        return self(residual) / (a + b)  # a residual is 0 where nothing is seen

    def _drawn(self, shape: Sequence[int]) -> Tensor:
        plane = tuple(shape[-2:]) if len(shape) > 1 else (shape[0], 1)
        if self.hidden == "random":
            keep = uniform((1, *plane), self.seed, dtype=torch.float64)[0] >= self.share
        else:
            keep = torch.ones(plane, dtype=torch.bool)
            if self.box is not None:
                top, left, height, width = self.box
                keep[top : top + height, left : left + width] = False
            else:
                axis = 0 if self.hidden in ("top", "bottom") else 1
                count = max(1, round(self.share * plane[axis]))
                first = 0 if self.hidden in ("top", "left") else plane[axis] - count
                keep.narrow(axis, first, count).fill_(False)
        return keep if len(shape) > 1 else keep[:, 0]
