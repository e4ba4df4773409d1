"""A compact convolutional autoencoder, with nothing but torch."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from .autoencoder import Autoencoder, moments
from .base import networks
from .blocks import convolution
from .layers import SiLU, check_positive, group_norm, zero
from .resampling import Doubling, Halving


@networks.register("autoencoder")
class ConvolutionalAutoencoder(Autoencoder):
    """Convolutional autoencoder: residual blocks at each resolution, the first of which is that of patches of pixels.

    It halves the resolution from level to level, so that ``factor`` is patch * 2^(levels - 1).

    Args:
        channels: Image channels.
        latent_channels: Of the latents.
        widths: Channels of each level, from the finest on.
        blocks: Residual blocks per level, in the encoder and in the decoder.
        patch: Pixels a side that the first layer takes together, as channels of one.
    """

    def __init__(
        self,
        channels: int,
        latent_channels: int = 4,
        widths: Sequence[int] = (64, 128),
        blocks: int = 1,
        patch: int = 2,
    ) -> None:
        super().__init__()
        sizes = {"channels": channels, "latent_channels": latent_channels, "blocks": blocks, "patch": patch}
        check_positive("an autoencoder", sizes | {"the number of widths": len(widths)})
        check_positive("an autoencoder", {"widths": min(widths)})
        self.channels, self.latent_channels, self.patch = channels, latent_channels, patch
        self.factor = patch * 2 ** (len(widths) - 1)
        self.design = sizes | {"widths": list(widths)}

        down: list[nn.Module] = [convolution(channels * patch**2, widths[0])]
        for level, width in enumerate(widths):
            down += [Halving(widths[level - 1], width)] if level else []
            down += [Residual(width) for _ in range(blocks)]
        self.encoder = nn.Sequential(*down, *_leave(widths[-1], 2 * latent_channels))
        up: list[nn.Module] = [convolution(latent_channels, widths[-1])]
        for level, width in reversed(list(enumerate(widths))):
            up += [Residual(width) for _ in range(blocks)]
            up += [Doubling(width, widths[level - 1])] if level else []
        self.decoder = nn.Sequential(*up, *_leave(widths[0], channels * patch**2))

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        self.latent_shape(images.shape[1:])
        return moments(self.encoder(functional.pixel_unshuffle(images, self.patch)))

    def decode(self, latents: Tensor) -> Tensor:
        return functional.pixel_shuffle(self.decoder(latents), self.patch).float()


class Residual(nn.Module):
    """Two 3x3 convolutions and a shortcut.

    Args:
        channels: Of what goes in and comes out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        first = [group_norm(channels), SiLU(), convolution(channels, channels)]
        self.branch = nn.Sequential(*first, group_norm(channels), SiLU(), zero(convolution(channels, channels)))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


def _leave(inputs: int, outputs: int) -> list[nn.Module]:
    return [group_norm(inputs), SiLU(), convolution(inputs, outputs)]
