r"""A small image of the sample, with noise: what a super-resolution stage of a cascade is told.

.. math:: c = \Big( \sqrt{1 - s^2}\, A x + s\, \varepsilon,\ s,\ y \Big), \qquad s \sim U(0, s_{\max}),

with A the means of blocks, :math:`\varepsilon` Gaussian noise and y the label. The level s is drawn for each sample,
and told. A stage that has seen such images forgives what the stage before it gets wrong, where s is larger than that;
at which level it is asked is chosen when it is sampled.

Source: Ho et al. (2021), arXiv 2106.15282, section 4.2; the level told, Saharia et al. (2022), arXiv 2205.11487,
section 2.4.
"""

from typing import Any

import torch
from torch import Tensor

from ..data import Samples, reduce
from ..networks import joined
from ..randomness import normal
from .base import Conditioner, Tell, conditioners


@conditioners.register("low_resolution")
class LowResolution(Conditioner):
    """A small image of the sample, with noise of a level that is told, beside its label: super-resolution.

    Args:
        size: Of the small image, pixels a side: what the stage before it makes.
        augmentation: Largest level of the noise, in [0, 1]: its standard deviation, where the image is scaled so that
            at 1 nothing is left of it. Null for no noise and no level to be told of, as some published networks are.
    """

    def __init__(self, size: int, augmentation: float | None = 0.5) -> None:
        if size < 1:
            raise ValueError(f"size is of the small image in pixels, at least 1, not {size}")
        self.size = size
        self.augmentation = augmentation
        self.check(0.0 if augmentation is None else augmentation)

    def check(self, level: float) -> None:
        """ValueError unless images may be shown with noise of this level."""
        most = 1.0 if self.augmentation is None else self.augmentation
        if not 0 <= level <= 1:
            raise ValueError(f"augmentation is a level of noise in [0, 1], not {level:g}")
        if level > most or (self.augmentation is None and level):
            seen = "no noise" if self.augmentation is None else f"levels up to {most:g}"
            raise ValueError(f"augmentation={level:g} is more than was trained with, which was {seen}")

    def options(self, dataset: Samples) -> dict[str, Any]:
        channels = dataset.shape[0] + (self.augmentation is not None)
        return {**super().options(dataset), "extra_channels": channels}

    def prepare(self, dataset: Samples) -> tuple[Samples, Tell]:
        reduce(torch.empty(1, *dataset.shape, device="meta"), self.size)  # or a sentence why not
        return dataset, self._tell

    def _tell(self, data: Tensor, labels: Tensor | None, generator: torch.Generator) -> Tensor:
        small = reduce(data, self.size)
        if self.augmentation is None:
            return joined(small, labels)
        options = {"generator": generator, "device": data.device, "dtype": data.dtype}
        level = self.augmentation * torch.rand(len(data), **options)
        return joined(augmented(small, level, torch.randn(small.shape, **options)), labels)

    def show(self, images: Tensor, level: float = 0.0, seed: int = 0, first: int = 0) -> Tensor:
        """Small images as a network is shown them, before there are labels.

        Args:
            images: Shape (B, C, size, size).
            level: Of the noise, the same for all.
            seed: Of the noise; that of sample ``first + i`` is the same in every batch.
            first: Index of the sample in row 0.
        Returns:
            Shape (B, extra_channels, size, size).
        """
        self.check(level)
        if self.augmentation is None:
            return images
        noise = normal(images.shape, seed, first=first, device=images.device, dtype=images.dtype)
        return augmented(images, torch.full((len(images),), level).to(images), noise)


def augmented(images: Tensor, level: Tensor, noise: Tensor) -> Tensor:
    """Images (B, C, h, w) with noise (B, C, h, w) of the levels (B,), and the levels: shape (B, C + 1, h, w)."""
    s = level[:, None, None, None]
    return joined((1 - s * s).sqrt() * images + s * noise, level)
