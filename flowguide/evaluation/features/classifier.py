"""Features of a classifier that flowguide trains on the data set at hand, once, and keeps."""

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
        self.network = classifier_of(setting)
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


def classifier_of(setting: Setting) -> nn.Module:
    """The classifier of a data set: from the cache, or trained now.

    It is kept by its own nodes, the data node, and what tells the training data from others
    (:attr:`.Samples.contents`): a file of the same name may hold other data in another folder, or on another day.

    Args:
        setting: The data set, and the network, objective, training and seed nodes of its classifier.
    Returns:
        A network with ``features`` and ``classify``.
    Raises:
        ValueError: if it cannot be trained; a setting that is named is one of ``classifier``.
    """
    settings = {**setting.classifier, "data": setting.data}
    key = digest_of([settings, setting.train.contents])[:12]
    folder = cache_folder() / f"classifier-{setting.data['name']}-{key}"
    try:
        train({**settings, "device": setting.device}, folder, setting.show)
    except ValueError as error:
        named = str(error).startswith(tuple(f"{node}." for node in setting.classifier))
        about = "classifier." if named else f"the classifier of {setting.train.name}: "
        raise ValueError(f"{about}{error}") from None
    return load(folder, device=setting.device)
