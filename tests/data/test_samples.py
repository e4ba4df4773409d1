"""Data sets in memory: bytes and numbers, and what is refused."""

import re

import pytest
import torch

from flowguide.data import Attribute, Dataset
from flowguide.data.base import scaled


def test_bytes_become_numbers_exactly() -> None:
    every = torch.arange(256, dtype=torch.uint8)
    numbers = scaled(every)
    assert numbers.dtype == torch.float32
    assert (numbers[0], numbers[255]) == (-1, 1)
    assert torch.equal(numbers, -numbers.flip(0))  # the middle stays in the middle
    torch.testing.assert_close(numbers.double(), every.double() / 127.5 - 1, rtol=0, atol=1.2e-7)
    assert torch.equal(((numbers + 1) * 127.5).round().to(torch.uint8), every)


def test_images_stay_bytes_until_they_are_asked_for() -> None:
    data = torch.randint(256, (20, 3, 4, 4), dtype=torch.uint8)
    labels = torch.arange(20) % 3
    dataset = Dataset("mine", data, labels, 3, classes=("a", "b", "c"), flip=True)
    assert dataset.data is data
    assert dataset.shape == (3, 4, 4)
    index = torch.tensor([3, 3, 19])
    images, some = dataset.batch(index)
    assert torch.equal(images, scaled(data)[index])
    assert torch.equal(some, labels[index])
    assert torch.equal(dataset.samples, scaled(data))
    moved = dataset.to("cpu")
    assert moved.data is data
    assert (moved.flip, moved.classes) == (True, ("a", "b", "c"))


def test_numbers_are_taken_as_they_are() -> None:
    data = torch.randn(9, 2)
    dataset = Dataset("mine", data)
    images, labels = dataset.batch(torch.tensor([8, 0]))
    assert labels is None
    assert torch.equal(images, data[[8, 0]])
    assert torch.equal(dataset.samples, data)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": torch.zeros(6, 2).double()}, "the data of mine must be float32, or images as uint8, not float64"),
        (
            {"data": torch.zeros(6, 2).byte()},
            "bytes, which are images, (N, channels, height, width), not of shape (6, 2)",
        ),
        ({"data": torch.zeros(0, 2), "labels": None}, "mine holds no samples"),
        ({"labels": torch.zeros(6)}, "the labels of mine must be integers (int64), not float32"),
        ({"labels": torch.zeros(5).long()}, "mine holds 6 samples, and its labels have shape (5,)"),
        ({"labels": torch.zeros(6, 1).long()}, "mine holds 6 samples, and its labels have shape (6, 1)"),
        ({"labels": torch.arange(6)}, "the labels of mine must be numbers from 0 to 2, and one is 5"),
        ({"labels": torch.arange(6) % 3 - 1}, "the labels of mine must be numbers from 0, and one is -1"),
        ({"classes": ("a", "b")}, "mine names 2 classes and has 3"),
        ({"captions": ["one"]}, "mine holds 6 samples, and 1 captions"),
        ({"attributes": {"ages": Attribute(torch.zeros(4).long(), ("new",))}}, "mine holds 6 samples, and 4 ages"),
        ({"attributes": {"ages": Attribute(torch.ones(6).long(), ("new",))}}, "names 1 values of ages, and one is 1"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict, message: str) -> None:
    good = {"data": torch.zeros(6, 2), "labels": torch.arange(6) % 3, "num_classes": 3}
    Dataset("mine", **good)
    with pytest.raises(ValueError, match=re.escape(message)):
        Dataset("mine", **{**good, **options})
