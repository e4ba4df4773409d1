r"""Autoencoders: images to latents of fewer numbers, and back.

.. math:: q(z \mid x) = N\!\big( m(x),\, \mathrm{diag}\, s(x)^2 \big), \qquad \hat x = D(z),

a Gaussian over latents for every image, and a decoder. A generative model then learns latents in place of images.

Source: Kingma & Welling (2014), arXiv 1312.6114; Rombach et al. (2022), arXiv 2112.10752.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..digest import digest_of, digest_of_tensors

_LOG_VARIANCE = (-30.0, 20.0)  # bounds, as in the source


class Reconstruction(NamedTuple):
    """What an autoencoder makes of images.

    Attributes:
        images: Shape (B, channels, height, width).
        mean, std: Of the latents, each of shape (B, latent_channels, height / factor, width / factor).
    """

    images: Tensor
    mean: Tensor
    std: Tensor


class Autoencoder(nn.Module, ABC):
    """An autoencoder of images in [-1, 1], with a Gaussian of independent numbers for the latents of each.

    Attributes:
        channels: Of the images.
        latent_channels: Of the latents.
        factor: How many pixels a side are one of the latents'.
        design: What its function depends on beside its tensors, JSON-compatible.
    """

    channels: int
    latent_channels: int
    factor: int
    design: Mapping[str, Any]

    @abstractmethod
    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the latents, each of the shape of :meth:`latent_shape`, of images (B, *)."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Images of latents; in [-1, 1] but for errors, which nothing clips here."""

    def forward(self, images: Tensor, noise: Tensor | None = None) -> Reconstruction:
        """Images decoded from mean + std * noise; from the mean if ``noise`` is None."""
        mean, std = self.encode(images)
        return Reconstruction(self.decode(mean if noise is None else mean + std * noise), mean, std)

    def latent_shape(self, shape: Sequence[int]) -> tuple[int, int, int]:
        """Shape of the latents of an image.

        Args:
            shape: Of the image, (channels, height, width).
        Raises:
            ValueError: if the autoencoder does not take such images.
        """
        shown = "x".join(map(str, shape))
        if len(shape) != 3:
            raise ValueError(f"an autoencoder takes images, channels x height x width, not samples of {shown}")
        if shape[0] != self.channels:
            raise ValueError(f"this autoencoder takes images of {self.channels} channels, not of {shape[0]} ({shown})")
        if shape[1] % self.factor or shape[2] % self.factor:
            raise ValueError(
                f"this autoencoder takes images whose sides are multiples of {self.factor} pixels, not {shown}"
            )
        return self.latent_channels, shape[1] // self.factor, shape[2] // self.factor

    @property
    def digest(self) -> str:
        """SHA-256 of what it is: its design and its tensors, wherever they lie."""
        return digest_of([type(self).__name__, dict(self.design), digest_of_tensors(self.state_dict())])

    @classmethod
    def options_for(cls, shape: Sequence[int], num_classes: int | None) -> dict[str, Any]:
        """As for :class:`.Network`."""
        if len(shape) != 3:
            raise ValueError(f"an autoencoder takes images, not samples of shape {tuple(shape)}")
        return {"channels": shape[0]}


def moments(parameters: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, float32, from their (B, 2C, H, W): means, and logarithms of variances."""
    mean, log_variance = parameters.float().chunk(2, dim=1)
    return mean, torch.exp(0.5 * log_variance.clamp(*_LOG_VARIANCE))
