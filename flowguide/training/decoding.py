"""From latents to images: the autoencoder that a folder of latents holds, and what a run on them is compared with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..data.files import folder_of
from ..data.latent_folder import AUTOENCODER, Manifest, read_manifest
from ..data.latents import check_digest
from ..networks import Autoencoder
from .config import TrainConfig

_PIXELS = 2**20  # decoded at once, at most


class Decoder:
    """Makes images of normalised latents, in batches that fit into memory, by the autoencoder that made the latents.

    Nothing is read before it is asked for: a field of latents loads and is sampled without its decoder.

    Args:
        folder: Of the latents.
        sample: Whether they are draws from the posteriors, which have a larger variance than the means.
        digest: Of the autoencoder and the statistics; others are refused. None for any.
    """

    def __init__(self, folder: str | Path, sample: bool = False, digest: str | None = None) -> None:
        self.folder, self.sample, self.digest = str(folder), sample, digest
        self._opened: tuple[Manifest, Autoencoder] | None = None

    def open(self, device: torch.device | str) -> tuple[Manifest, Autoencoder]:
        """The manifest and the autoencoder, on the device.

        Raises:
            ValueError: if there is no such folder, or it is of another autoencoder, or holds another one.
        """
        if self._opened is None:
            from .assemble import load

            manifest = manifest_of(self.folder, self.digest)
            autoencoder = load(folder_of(self.folder) / AUTOENCODER, device=device)
            if not isinstance(autoencoder, Autoencoder) or autoencoder.digest != manifest.autoencoder:
                raise ValueError(
                    f"{Path(self.folder) / AUTOENCODER} is not the autoencoder that made the latents beside it "
                    f"(their manifest says sha256 {manifest.autoencoder[:12]}), and cannot decode them"
                )
            self._opened = manifest, autoencoder
        return self._opened[0], self._opened[1].to(device)

    @torch.no_grad()
    def __call__(self, latents: Tensor, batch_size: int | None = None) -> Tensor:
        """Images in [-1, 1], shape (B, channels, height, width), on the device of the latents.

        Args:
            latents: Of zero mean and unit variance, as the network knows them, shape (B, *).
            batch_size: Images decoded at once; None for as many as have a million pixels together. A GPU without memory
                for so many is asked for half as many, and so on.
        """
        manifest, autoencoder = self.open(latents.device)
        centre, scale = (
            torch.tensor(each, dtype=latents.dtype, device=latents.device)[:, None, None]
            for each in (manifest.moments.mean, manifest.moments.scale(self.sample))
        )
        pixels = manifest.image_shape[1] * manifest.image_shape[2]
        size, images = batch_size or max(1, _PIXELS // pixels), []
        rest = latents
        while len(rest):
            try:
                images.append(autoencoder.decode(rest[:size] * scale + centre).clamp(-1, 1))
                rest = rest[size:]
            except torch.OutOfMemoryError:
                if size == 1:
                    raise ValueError(f"there is no memory to decode one image of {manifest.image_shape}") from None
                size //= 2
        return torch.cat(images) if images else latents.new_empty(0, *manifest.image_shape)


def manifest_of(folder: str, digest: str | None) -> Manifest:
    """The manifest of a complete folder of latents; ValueError if it is not that of the digest."""
    manifest = read_manifest(folder_of(folder))
    check_digest(manifest, digest, folder)
    return manifest


def decoder_of(config: TrainConfig) -> Decoder | None:
    """What decodes the samples of a run; None if they are not latents, or it is not known of which images."""
    if config.data.get("name") != "latents":
        return None
    return Decoder(config.data["folder"], bool(config.data.get("sample")), config.data.get("digest"))


def pixel_data(config: TrainConfig) -> tuple[Mapping[str, Any], tuple[int, ...]]:
    """What the samples of a run are compared with: the node of its data, or of those that its latents are of.

    Returns:
        The node, and the shape of a sample after it was decoded.
    """
    if config.data.get("name") == "latents":
        manifest = manifest_of(config.data["folder"], config.data.get("digest"))
        return manifest.data, tuple(manifest.image_shape)
    return config.data, tuple(config.shape or ())
