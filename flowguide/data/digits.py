"""Real handwritten digits, 8x8, that come with scikit-learn."""

import torch

from ..randomness import uniform
from .base import Dataset, Split, datasets

_SPLIT_SEED = 0  # of which digits are held out; never to be changed: figures are compared across versions


@datasets.register("digits")
def digits(split: Split = "train") -> Dataset:
    """1,797 handwritten digits of 8x8 pixels in 10 classes (UCI Optical Recognition, through scikit-learn).

    A fifth of each class, chosen at random once and for all, is held out for testing: 1,438 to train on, 359 to test
    with.

    Args:
        split: "train" or "test".
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    labels = torch.tensor(labels, dtype=torch.int64)
    lot = uniform((len(labels), 1), _SPLIT_SEED)[:, 0]
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(10):
        members = (labels == label).nonzero()[:, 0]
        held_out[members[lot[members].argsort()][: round(len(members) / 5)]] = True
    chosen = held_out == (split == "test")
    data = torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8) / 8 - 1
    return Dataset(f"digits ({split})", data[chosen], labels[chosen], 10, levels=17)
