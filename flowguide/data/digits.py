"""Real handwritten digits, 8x8, that come with scikit-learn."""

import numpy
import torch

from .base import Dataset, Split, datasets


@datasets.register("digits")
def digits(split: Split = "train") -> Dataset:
    """1,797 handwritten digits of 8x8 pixels in 10 classes (UCI Optical Recognition, through scikit-learn).

    Every fifth digit of each class is held out for testing: 1,442 to train on, 355 to test with.

    Args:
        split: "train" or "test".
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    rank = numpy.empty(len(labels), dtype=int)  # of each digit within its class
    for label in range(10):
        members = numpy.flatnonzero(labels == label)
        rank[members] = numpy.arange(len(members))
    chosen = (rank % 5 == 4) == (split == "test")
    data = torch.tensor(images[chosen], dtype=torch.float32).reshape(-1, 1, 8, 8) / 8 - 1
    return Dataset(f"digits ({split})", data, torch.tensor(labels[chosen], dtype=torch.int64), 10)
