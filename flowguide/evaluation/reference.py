"""What features see in the real data: computed once, kept by what the data and the features are.

The key is made of the data node, the split, what tells the samples from others (:attr:`.Samples.contents`), and the
digest of the features. A file that is reused is named in the log.
"""

import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..cache import cache_folder
from ..data import Samples
from ..digest import digest_of
from ..metrics import Seen
from .features import Features

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reference:
    """The real data through the eyes of features.

    Attributes:
        train: The training data, with the held-out ones beside them.
        test: The held-out data.
        caption: Whose features these are.
        digest: Of the data.
    """

    train: Seen
    test: Seen
    caption: str
    digest: str


def reference_of(features: Features) -> Reference:
    """Both splits of the data set that the features were built for, looked at now or on an earlier day."""
    train, test = (_seen(features, split) for split in ("train", "test"))
    digest = digest_of([train[1], test[1]])
    return Reference(replace(train[0], held_out=test[0]), test[0], features.caption(test[0]), digest)


def _seen(features: Features, split: str) -> tuple[Seen, str]:
    """What is seen in a split, and the digest of the split."""
    node, dataset = dict(features.setting.data), getattr(features.setting, split)
    about = digest_of([node, split, dataset.contents])
    if not features.kept:
        return _look(features, dataset), about
    file = cache_folder() / f"seen-{node['name']}-{split}-{digest_of([about, features.digest])[:16]}.safetensors"
    if file.is_file():
        try:
            tensors = load_file(file)
            log.info("reference: %s was seen before, and is read from %s", dataset.name, file)
            return Seen(**{name: tensor.to(features.device) for name, tensor in tensors.items()}), about
        except (SafetensorError, TypeError):
            log.info("reference: %s is damaged, and made again", file)
    seen = _look(features, dataset)
    _write(file, seen)
    return seen, about


def _look(features: Features, dataset: Samples) -> Seen:
    try:
        return Seen.of([features.see(*part) for part in dataset.parts(features.batch_size)])
    except ValueError as error:
        raise ValueError(f"the reference, {dataset.name}: {error}") from None


def _write(file: Path, seen: Seen) -> None:
    """All at once or not at all; two processes may write the same."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(f".{os.getpid()}.part")
    tensors = {"features": seen.features, "logits": seen.logits, "labels": seen.labels}
    save_file({name: each.contiguous().cpu() for name, each in tensors.items() if each is not None}, part)
    os.replace(part, file)
