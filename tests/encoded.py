"""What the tests of latents share: an autoencoder that was never trained, as a run, and a folder of its latents."""

from pathlib import Path
from typing import Any

import torch

import flowguide as fg
from flowguide import training
from flowguide.data.latent_folder import Manifest
from flowguide.encoding import EncodeConfig, encode

DATA = {"name": "glyphs", "size": 8, "letters": "ABC", "count": 50, "test_count": 20}
NETWORK = {"name": "autoencoder", "channels": 3, "latent_channels": 2, "widths": [4, 8], "patch": 1}


def write_autoencoder(folder: Path, seed: int = 0, shape: tuple[int, ...] = (3, 8, 8), **options: Any) -> Path:
    """A run folder with new weights, all of which do something."""
    network = {**NETWORK, "channels": shape[0], **options}
    settings = {"network": network, "data": DATA, "objective": {"name": "vae"}, "training": {"steps": 1}}
    settings |= {"shape": list(shape)}
    generator = torch.Generator().manual_seed(seed)
    model = fg.networks.registry.build_from(network)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    run = training.RunFolder(folder)
    run.open(settings)
    run.save(0, {f"ema.{name}": tensor for name, tensor in model.state_dict().items()}, settings, keep=1)
    return folder


def encoded(folder: Path, autoencoder: Path | None = None, /, **settings: Any) -> Manifest:
    """Latents of a few glyphs in ``folder/latents``, made by the autoencoder, or by one in ``folder/autoencoder``."""
    autoencoder = autoencoder or write_autoencoder(folder / "autoencoder")
    config = {"autoencoder": str(autoencoder), "out": str(folder / "latents"), "data": DATA, "device": "cpu"}
    return encode(EncodeConfig.of({**config, "shard_size": 16, "batch_size": 8, "workers": 0, **settings}), show=False)
