"""The autoencoder of latent diffusion models, by diffusers: that of Stable Diffusion and its kind.

Source: Rombach et al. (2022), arXiv 2112.10752; AutoencoderKL of diffusers.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from .autoencoder import Autoencoder, moments
from .base import networks

_TILE = 512  # pixels a side; what is larger is decoded in overlapping tiles of this size


@networks.register("autoencoder_kl")
class AutoencoderKL(Autoencoder):
    """The autoencoder of Stable Diffusion, by diffusers: new, to be trained; :meth:`published` has those with weights.

    Images of more than 512 pixels a side are decoded in overlapping tiles, which bounds the memory, and changes them a
    little: attention then sees no further than a tile.

    Args:
        channels: Image channels.
        latent_channels: Of the latents.
        widths: Channels of each level, from full resolution on; ``factor`` is 2^(levels - 1).
        layers: Residual blocks per level of the encoder; the decoder has one more.
        groups: Of group normalisation; they divide every width.
        attention: Whether pixels attend to each other at the lowest resolution.
        config: All options as the ``config.json`` of a folder of diffusers has them, in place of those before.
    Raises:
        ValueError: if diffusers is not installed, or refuses the options.
    """

    def __init__(
        self,
        channels: int,
        latent_channels: int = 4,
        widths: Sequence[int] = (64, 128, 128),
        layers: int = 1,
        groups: int = 32,
        attention: bool = True,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        options = config or {
            "in_channels": channels,
            "out_channels": channels,
            "latent_channels": latent_channels,
            "block_out_channels": list(widths),
            "down_block_types": ["DownEncoderBlock2D"] * len(widths),
            "up_block_types": ["UpDecoderBlock2D"] * len(widths),
            "layers_per_block": layers,
            "norm_num_groups": groups,
            "mid_block_add_attention": attention,
        }
        try:
            self.model = diffusers().AutoencoderKL(**options)
        except (TypeError, ValueError) as error:
            raise ValueError(f"diffusers refuses the options of an autoencoder_kl: {error}") from None
        found = self.model.config
        self.channels, self.latent_channels = found["in_channels"], found["latent_channels"]
        if self.channels != channels:
            raise ValueError(f"config is of an autoencoder of {self.channels} channels, and the images have {channels}")
        self.factor = 2 ** (len(found["block_out_channels"]) - 1)
        self.design = public(found)
        self.model.tile_sample_min_size, self.model.tile_latent_min_size = _TILE, _TILE // self.factor

    @classmethod
    def published(cls, place: str | Path) -> "AutoencoderKL":
        """One with its weights: a folder as diffusers saves them, or its name on the hub; in evaluation mode.

        Only tensors are read (safetensors). ``flowguide encode`` takes such a place as it takes a run.

        Raises:
            ValueError: if diffusers is not installed, there is no such place, or it holds no AutoencoderKL.
        """
        kind = diffusers().AutoencoderKL
        try:
            config = kind.load_config(place)
            if config.get("_class_name") != "AutoencoderKL":
                raise ValueError(f"it holds a {config.get('_class_name')}, and not an AutoencoderKL")
            options = {"use_safetensors": True, "low_cpu_mem_usage": False, "output_loading_info": True}
            found, loaded = kind.from_pretrained(place, **options)
            if wrong := [*loaded["missing_keys"], *loaded["unexpected_keys"], *loaded["mismatched_keys"]]:
                raise ValueError(f"its tensors are not those of its config.json: {wrong[0]}, and {len(wrong) - 1} more")
        except (OSError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ValueError(f"{place} cannot be read as an autoencoder of diffusers: {reason}") from None
        autoencoder = cls(found.config["in_channels"], config=public(found.config))
        autoencoder.model.load_state_dict(found.state_dict())
        return autoencoder.eval()

    @classmethod
    def options_for(cls, shape: Sequence[int], num_classes: int | None) -> dict[str, Any]:
        diffusers()  # to say so before anything is read or written
        return super().options_for(shape, num_classes)

    @property
    def node(self) -> dict[str, Any]:
        """What builds it anew, without its weights."""
        return {"name": "autoencoder_kl", "channels": self.channels, "config": dict(self.design)}

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        self.latent_shape(images.shape[1:])
        return moments(self.model.encode(images).latent_dist.parameters)

    def decode(self, latents: Tensor) -> Tensor:
        self.model.use_tiling = max(latents.shape[-2:]) > self.model.tile_latent_min_size
        try:
            return self.model.decode(latents).sample.float()
        finally:
            self.model.use_tiling = False


def public(config: Mapping[str, Any]) -> dict[str, Any]:
    """The options in a configuration of diffusers, without its notes on itself; sequences as lists."""
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in config.items()
        if not key.startswith("_")
    }


def diffusers() -> Any:
    """The library; ValueError that names the extra if it is not installed."""
    try:
        import diffusers

        return diffusers
    except ImportError:
        raise ValueError("an autoencoder_kl needs diffusers: pip install 'flowguide[latent]'") from None
