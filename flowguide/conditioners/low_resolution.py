r"""A small image of the sample, with noise: what a super-resolution stage of a cascade is told.

.. math:: c = \Big( \sqrt{1 - s^2}\, A x + s\, \varepsilon,\ s,\ y \Big), \qquad s \sim U(0, s_{\max}),

with A the means of blocks, :math:`\varepsilon` Gaussian noise and y what another conditioner tells: the label, or the
caption. The level s is drawn for each sample, and told. A stage that has seen such images forgives what the stage
before it gets wrong, where s is larger than that; at which level it is asked is chosen when it is sampled.

Source: Ho et al. (2021), arXiv 2106.15282, section 4.2; the level told, and captions, Saharia et al. (2022), arXiv
2205.11487, sections 2.3 and 2.4.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..data import Samples, reduce
from ..networks import joined
from ..randomness import normal
from .base import Asked, Conditioner, Tell, conditioners


@conditioners.register("low_resolution")
class LowResolution(Conditioner):
    """A small image of the sample, with noise of a level that is told, beside its label or caption: super-resolution.

    Args:
        size: Of the small image, pixels a side: what the stage before it makes.
        augmentation: Largest level of the noise, in [0, 1]: its standard deviation, where the image is scaled so that
            at 1 nothing is left of it. Null for no noise and no level to be told of, as some published networks are.
        beside: What is told beside the image: another conditioner, by its name or with options, {name: text, ...}.
    Raises:
        ValueError: if the size is none, the level is not in [0, 1], or what is beside tells an image of its own.
    """

    def __init__(self, size: int, augmentation: float | None = 0.5, beside: str | Mapping[str, Any] = "label") -> None:
        if size < 1:
            raise ValueError(f"size is of the small image in pixels, at least 1, not {size}")
        self.size = size
        self.augmentation = augmentation
        self.check(0.0 if augmentation is None else augmentation)
        self.beside: Conditioner = conditioners.choose(beside)
        if isinstance(self.beside, LowResolution):
            raise ValueError("a stage is shown one image: beside=low_resolution would be a second one")

    @property
    def of_samples(self) -> bool:
        """That of what is beside the image."""
        return self.beside.of_samples

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
        return {**self.beside.options(dataset), "extra_channels": channels}

    def null(self) -> Tensor | None:
        return self.beside.null()

    def held_out(self, rows: Tensor, asked: Asked) -> Tensor | None:
        return self.beside.held_out(rows, asked)

    def ask(self, given: Any, asked: Asked) -> Tensor | None:
        return self.beside.ask(given, asked)

    def prepare(self, dataset: Samples) -> tuple[Samples, Tell]:
        reduce(torch.empty(1, *dataset.shape, device="meta"), self.size)  # or a sentence why not
        dataset, beside = self.beside.prepare(dataset)

        def tell(data: Tensor, labels: Tensor | None, generator: torch.Generator) -> Tensor:
            image = self._image(data, generator)
            return joined(image, beside(data, labels, generator))

        return dataset, tell

    def _image(self, data: Tensor, generator: torch.Generator) -> Tensor:
        """Small images of a batch, with noise of levels drawn for each."""
        small = reduce(data, self.size)
        if self.augmentation is None:
            return small
        options = {"generator": generator, "device": data.device, "dtype": data.dtype}
        level = self.augmentation * torch.rand(len(data), **options)
        return augmented(small, level, torch.randn(small.shape, **options))

    def show(self, images: Tensor, level: float = 0.0, seed: int = 0, first: int | Tensor = 0) -> Tensor:
        """Small images as a network is shown them, before there is anything beside them.

        Args:
            images: Shape (B, C, size, size).
            level: Of the noise, the same for all.
            seed: Of the noise; that of sample ``first + i`` is the same in every batch.
            first: Index of the sample in row 0, or of that in every row, int64, shape (B,).
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
