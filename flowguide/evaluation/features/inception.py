"""Features of the Inception network of the FID of the literature.

The network is that of the original implementation (2015-12-05), as torch-fidelity has it, with its resizing, which is
TensorFlow 1's and differs from PyTorch's. Images are rounded to bytes first, and grey ones repeated three times.

Sources: Heusel et al. (2017), arXiv 1706.08500; Parmar, Zhang & Zhu (2022), arXiv 2104.11222 (what resizing does).
"""

import pickle
from pathlib import Path

import torch
from torch import Tensor

from ...digest import digest_of_tensors
from ...metrics import Seen
from .base import Features, Setting, as_bytes, features


@features.register("inception")
class Inception(Features):
    """The 2048 features of the FID of the literature, and logits; needs torch-fidelity: pip install 'flowguide[fid]'.

    Args:
        weights: File of the weights in torch-fidelity's format, pt_inception-2015-12-05-6726825d.pth; None: its own,
            which it downloads once.
    """

    gives = ("logits",)
    resize = "bilinear as in TensorFlow 1, to 299x299"
    of = "images"
    batch_size = 64

    def __init__(self, setting: Setting, weights: str | None = None) -> None:
        super().__init__(setting)
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError as error:
            raise ValueError(
                f"the features 'inception' need torch-fidelity, which cannot be imported ({error}): "
                f"pip install 'flowguide[fid]'"
            ) from None
        if weights is not None:
            check_weights(Path(weights))
        try:
            network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048", "logits_unbiased"], weights)
        except (OSError, RuntimeError) as error:
            hint = "" if weights else "; give a file, features.weights=..."
            reason = str(error).strip().partition("\n")[0]
            raise ValueError(f"the weights of 'inception' cannot be had: {reason}{hint}") from None
        self.network = network.to(self.device).eval()
        self.digest = digest_of_tensors(self.network.state_dict())

    def caption(self, held_out: Seen) -> str:
        return "Inception-v3 of the FID of the literature (2048 features)"

    def look(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        found, logits = self.network(as_bytes(samples))
        return found, logits


def check_weights(file: Path) -> None:
    """ValueError if it is not a file of tensors alone; torch-fidelity would run whatever code is in it."""
    if not file.is_file():
        raise ValueError(f"there is no file {file} with the weights of 'inception'")
    try:
        torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError):
        raise ValueError(f"{file} is not a file of tensors alone, and is not read") from None
