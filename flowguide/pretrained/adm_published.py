"""The published ADM models: what their files tell of themselves, and what they do not.

The shapes in a file tell widths, blocks and attention. They do not tell into how many heads attention is split, in
which order its channels are, what size the images have and which betas the states were made with: that is looked up
here, by what the shapes tell. The models of LSUN have the network of 256x256_diffusion_uncond.

Source: Dhariwal & Nichol (2021), arXiv 2105.05233, appendix I; the flags that the files were published with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..networks.blocks import Order


@dataclass(frozen=True)
class Published:
    """A published model.

    Attributes:
        size: Height and width of its images.
        width, multipliers, blocks, attention: Of its network, as the shapes tell them.
        num_classes, extra_channels: Likewise.
        classifier: Whether it is a noisy classifier.
        heads, head_width: One of them: how many heads at every level, or how wide each is.
        order: Of the channels of attention.
        schedule: Of the betas.
    """

    size: int
    width: int
    multipliers: tuple[float, ...]
    blocks: int = 2
    attention: tuple[int, ...] = ()
    num_classes: int | None = 1000
    extra_channels: int = 0
    classifier: bool = False
    heads: int | None = None
    head_width: int | None = 64
    order: Order = "legacy"
    schedule: Literal["linear", "cosine"] = "linear"

    def is_told_by(self, options: Mapping[str, Any]) -> bool:
        """Whether the options that shapes told are this model's."""
        return (
            self.classifier == ("pool" in options)
            and self.width == options["width"]
            and list(self.multipliers) == options["multipliers"]
            and {self.blocks} == set(options["blocks"])
            and list(self.attention) == options["attention"]
            and self.num_classes == options["num_classes"]
            and self.extra_channels == options.get("extra_channels", 0)
        )


_64, _128, _256, _512 = (1, 2, 3, 4), (1, 1, 2, 3, 4), (1, 1, 2, 2, 4, 4), (0.5, 1, 1, 2, 2, 4, 4)

MODELS = {
    "64x64_diffusion": Published(64, 192, _64, 3, (1, 2, 3), order="new", schedule="cosine"),
    "128x128_diffusion": Published(128, 256, _128, 2, (2, 3, 4), heads=4, head_width=None),
    "256x256_diffusion": Published(256, 256, _256, 2, (3, 4, 5)),
    "256x256_diffusion_uncond": Published(256, 256, _256, 2, (3, 4, 5), num_classes=None),
    "512x512_diffusion": Published(512, 256, _512, 2, (4, 5, 6)),
    "64_256_upsampler": Published(256, 192, _256, 2, (3, 4, 5), extra_channels=3, heads=4, head_width=None),
    "128_512_upsampler": Published(512, 192, _256, 2, (4, 5), extra_channels=3),
    "64x64_classifier": Published(64, 128, _64, 4, (1, 2, 3), classifier=True, schedule="cosine"),
    "128x128_classifier": Published(128, 128, _128, 2, (2, 3, 4), classifier=True),
    "256x256_classifier": Published(256, 128, _256, 2, (3, 4, 5), classifier=True),
    "512x512_classifier": Published(512, 128, _512, 2, (4, 5, 6), classifier=True),
}
