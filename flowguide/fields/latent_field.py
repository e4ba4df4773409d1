"""A trained network on its path whose data are latents of images."""

from collections.abc import Callable

from torch import Tensor

from ..networks import Network
from ..paths import Output, Path
from .network_field import Clock, ClockName, NetworkField, Told

Decode = Callable[[Tensor], Tensor]


class LatentField(NetworkField):
    """A field of latents that knows how to make images of them, once they are sampled.

    To solvers, rules and diagnostics it is the field of its network and nothing else: all that they do is done in
    latents. What draws samples to be looked at or measured decodes them (:func:`flowguide.training.samples`)::

        latents = fg.sample(fg.guidance.build("cfg", field, w=2.0), (64, *field.shape), labels)
        images = field.decode(latents)

    Args:
        network, path, predicts, sigma_data, clock, told: As for :class:`.NetworkField`.
        decoder: From latents as the network knows them, shape (B, *), to images in [-1, 1]: the ``Decoder`` of a folder
            of latents, or any function.
    """

    def __init__(
        self,
        network: Network,
        path: Path,
        predicts: Output = "velocity",
        sigma_data: float | None = None,
        *,
        decoder: Decode,
        clock: Clock | ClockName | None = None,
        told: Told = "sometimes",
    ) -> None:
        super().__init__(network, path, predicts, sigma_data, clock=clock, told=told)
        self.decoder = decoder

    def decode(self, latents: Tensor) -> Tensor:
        """Images in [-1, 1], shape (B, channels, height, width), of latents, shape (B, *)."""
        return self.decoder(latents)
