"""Features of DINOv2, in which Frechet distances rank images more as people do than in Inception's.

Images are resized bicubically, with antialiasing, to size x size, brought to ImageNet's mean and deviation, and shown
to the network; its normalised class token is the features.

Sources: Oquab et al. (2023), arXiv 2304.07193 (DINOv2); Stein et al. (2023), arXiv 2306.04675 (FD-DINOv2).
"""

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ...digest import digest_of, digest_of_tensors
from ...metrics import Seen
from .base import Features, Setting, as_bytes, features

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@features.register("dinov2")
class DinoV2(Features):
    """The class token of DINOv2, for FD-DINOv2; needs transformers: pip install 'flowguide[dinov2]'.

    Args:
        weights: A local folder, or a name on the Hugging Face hub; the literature's is the large one.
        size: Of the resized images, in pixels, a multiple of the network's patches.
    """

    of = "images"
    batch_size = 64

    def __init__(self, setting: Setting, weights: str = "facebook/dinov2-large", size: int = 224) -> None:
        super().__init__(setting)
        try:
            from transformers import Dinov2Model
        except ImportError as error:
            raise ValueError(
                f"the features 'dinov2' need transformers, which cannot be imported ({error}): "
                f"pip install 'flowguide[dinov2]'"
            ) from None
        try:
            network = Dinov2Model.from_pretrained(weights, use_safetensors=True)
        except (OSError, ValueError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise ValueError(f"the weights of 'dinov2', {weights}, cannot be had: {reason}") from None
        patch = network.config.patch_size
        if size < patch or size % patch:
            raise ValueError(f"features.size must be a multiple of the network's patches, {patch}, not {size}")
        self.network = network.to(self.device).eval()
        self.weights, self.size = weights, size
        self.resize = f"bicubic, antialiased, to {size}x{size}"
        self.digest = digest_of([digest_of_tensors(network.state_dict()), size])

    def caption(self, held_out: Seen) -> str:
        return f"DINOv2 ({self.weights}, class token)"

    def look(self, samples: Tensor) -> tuple[Tensor, None]:
        images = as_bytes(samples).float() / 255
        images = interpolate(images, (self.size, self.size), mode="bicubic", antialias=True).clamp(0, 1)
        mean, deviation = (torch.tensor(each, device=self.device)[:, None, None] for each in (_MEAN, _DEVIATION))
        return self.network((images - mean) / deviation).pooler_output, None
