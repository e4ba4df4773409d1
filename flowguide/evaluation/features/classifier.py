"""Features of a classifier that flowguide trains on the data set at hand, once, and keeps."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ...cache import cache_folder
from ...digest import digest_of, digest_of_tensors
from ...metrics import Seen
from ...training import load, train
from .base import Features, Setting, features


@features.register("classifier")
class Classifier(Features):
    """Those of flowguide's own classifier of the data set, trained once; logits too. Not Inception's."""

    of = "labelled images"
    gives = ("logits", "labels")

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.network = classifier_of(setting.data, setting.classifier, setting.device, setting.show)
        self.digest = digest_of_tensors(self.network.state_dict())

    def caption(self, held_out: Seen) -> str:
        right = f"{100 * accuracy(held_out):.1f} % right on held-out data"
        return f"flowguide's own classifier of {self.setting.data['name']} ({right}); not Inception FID or IS"

    def look(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        found = self.network.features(samples)
        return found, self.network.classify(found)


def accuracy(seen: Seen) -> float:
    """The share that is given its label."""
    return float((seen.logits.argmax(1) == seen.labels).double().mean())


def classifier_of(
    data: Mapping[str, Any], classifier: Mapping[str, Any], device: str = "auto", show: bool = True
) -> nn.Module:
    """The classifier of a data set: from the cache, or trained now.

    Args:
        data: The data node of a configuration.
        classifier: Its network, objective, training and seed nodes.
        device: Where to train and use it.
        show: Show a progress bar.
    Returns:
        A network with ``features`` and ``classify``.
    """
    settings = {**classifier, "data": data}
    folder = cache_folder() / f"classifier-{data['name']}-{digest_of(settings)[:12]}"
    train({**settings, "device": device}, folder, show)
    return load(folder, device=device)
