"""The classifier in whose features metrics are computed: trained on the data set at hand, once, and kept."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ..metrics import Seen, see
from ..training import build_dataset, load, train
from .digest import digest_of


@dataclass(frozen=True)
class Judge:
    """The classifier that metrics are computed with, and what it saw in the real data.

    Attributes:
        classifier: With ``features`` and ``classify``.
        features: Whose features these are, for captions.
        accuracy: On the held-out data.
        train, test: The real data through its eyes.
    """

    classifier: nn.Module
    features: str
    accuracy: float
    train: Seen
    test: Seen


def cache_folder() -> Path:
    """Where things are kept that can always be made again: $FLOWGUIDE_CACHE, or flowguide in the user's cache."""
    if "FLOWGUIDE_CACHE" in os.environ:
        return Path(os.environ["FLOWGUIDE_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "flowguide"


def judge_for(data: Mapping[str, Any], classifier: Mapping[str, Any], device: str = "auto", show: bool = True) -> Judge:
    """The classifier of a data set: from the cache, or trained now.

    Args:
        data: The data node of a configuration.
        classifier: Its network, objective, training and seed nodes.
        device: Where to train and use it.
        show: Show a progress bar.
    """
    settings = {**classifier, "data": data}
    folder = cache_folder() / f"classifier-{data['name']}-{digest_of(settings)[:12]}"
    train({**settings, "device": device}, folder, show)
    model = load(folder, device=device)
    real = [build_dataset(model.config, split) for split in ("train", "test")]
    seen = [Seen.of([see(model, *some) for some in part.parts()]) for part in real]
    accuracy = float((seen[1].logits.argmax(1) == seen[1].labels).double().mean())
    features = f"flowguide's own classifier of {data['name']} ({100 * accuracy:.1f} % right on held-out data)"
    return Judge(model, features, accuracy, *seen)
