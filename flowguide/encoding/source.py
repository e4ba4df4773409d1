"""Which autoencoder: a run's, or a published one."""

from pathlib import Path

import torch

from ..networks import Autoencoder
from ..networks.autoencoder_kl import AutoencoderKL
from ..training import TrainConfig, device_of, load
from ..training.checkpoint import is_checkpoint


def load_autoencoder(place: str, ema: bool | float = True, device: torch.device | str = "auto") -> Autoencoder:
    """An autoencoder, ready to encode, with the ``config`` of a run.

    Args:
        place: A run folder or checkpoint file; or a folder of diffusers, or the name of one on the hub.
        ema: As for :func:`flowguide.load`; published ones have no averages.
        device: Where to put it; "auto" is the GPU if there is one.
    Raises:
        ValueError: if there is no such place, or it holds no autoencoder.
    """
    path = Path(place)
    if is_checkpoint(path) or (path / "config.yaml").is_file():
        model = load(path, ema, device)
        if not isinstance(model, Autoencoder):
            raise ValueError(
                f"{place} holds a {type(model).__name__}, and no autoencoder; 'flowguide train glyphs_vae' trains one"
            )
        return model
    # A name on the hub is owner/name; runs/mine, where there is a folder runs, is meant for one that is here.
    named = not path.exists() and len(path.parts) == 2 and not path.parent.exists()
    if not (path / "config.json").is_file() and not named:
        what = "holds no autoencoder" if path.exists() else "does not exist"
        raise ValueError(
            f"{place} {what}: encode takes a run folder of an autoencoder, as 'flowguide train glyphs_vae' writes it, "
            f"or a folder of diffusers' AutoencoderKL, or its name on the hub"
        )
    published = AutoencoderKL.published(place)
    settings = {"network": published.node, "data": {}, "objective": {}, "training": {"steps": 1}, "recipe": str(place)}
    published.config = TrainConfig.of(settings)
    return published.to(device_of(str(device))).requires_grad_(False)
