"""What must hold of every registered conditioner."""

import torch

from flowguide import conditioners, data


def test_labels_are_told_unless_something_else_is_named() -> None:
    digits = data.build("digits")
    conditioner = conditioners.build("label")
    same, tell = conditioner.prepare(digits)
    images, labels = same.batch(torch.arange(5))
    assert same is digits
    assert tell(images, labels, torch.Generator()) is labels
    assert conditioner.options(digits) == {"num_classes": 10}
    assert conditioner.null() is None
