"""Labels as users ask for them: by number, or by the names of classes."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..data import Samples
from ..registry import unknown


def asked_labels(given: Any, num: int, num_classes: int | None, dataset: Callable[[], Samples]) -> Tensor | None:
    """Labels for ``num`` samples: one for all, a list, or all classes in turn.

    Args:
        given: A label or the name of one, a list of them, or None.
        num: How many samples.
        num_classes: How many labels there are; None if there are none.
        dataset: Gives a data set that names the classes; it is called if a name was given.
    Returns:
        Shape (num,), int64, or None if there are no labels.
    Raises:
        ValueError: if a label is not one of the classes, or there are not as many as samples.
    """
    if num_classes is None:
        if given is not None:
            raise ValueError(f"this model takes no labels, so cond must be null, not {given!r}")
        return None
    if given is None:
        return torch.arange(num) % num_classes
    labels = list(given) if isinstance(given, (list, tuple)) else [given] * num
    if any(isinstance(label, str) for label in labels):
        labels = _numbered(labels, dataset())
    for label in labels:
        if not isinstance(label, int) or isinstance(label, bool) or not 0 <= label < num_classes:
            raise ValueError(f"cond must be a label from 0 to {num_classes - 1}, or a list of them, not {label!r}")
    if len(labels) != num:
        raise ValueError(f"cond lists {len(labels)} labels for num={num} samples")
    return torch.tensor(labels)


def _numbered(labels: Sequence[Any], dataset: Samples) -> list[Any]:
    if dataset.classes is None:
        name = next(label for label in labels if isinstance(label, str))
        raise ValueError(f"cond names a class, {name!r}, and those of {dataset.name} have no names: give its number")
    number = {str(name): label for label, name in enumerate(dataset.classes)}
    for label in labels:
        if isinstance(label, str) and label not in number:
            raise unknown(f"class of {dataset.name}", label, number)
    return [number[label] if isinstance(label, str) else label for label in labels]
