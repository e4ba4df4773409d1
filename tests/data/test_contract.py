"""What must hold of every registered data set, and of the toys and digits.

A new set is tested as it is if it needs no options; one that reads files needs a line in ``stored_data.WRITERS``.
"""

import inspect
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from stored_data import WRITERS

import flowguide as fg
from flowguide.data.toys import eight_gaussians_mixture

every_set = pytest.mark.parametrize("name", fg.data.names())
TOYS = ["checkerboard", "eight_gaussians", "moons", "spirals"]


@pytest.fixture
def build(name: str, tmp_path: Path) -> Callable[..., fg.data.Samples]:
    """Builds the set: small, if it can be; from files made for it, if it needs some."""
    parameters = fg.data.registry.options(name)
    options: dict[str, Any] = {key: 700 for key in parameters if key.endswith("count")}
    if name in WRITERS:
        options |= WRITERS[name](tmp_path / name)
    missing = [key for key, p in parameters.items() if p.default is inspect.Parameter.empty and key not in options]
    assert not missing, f"{name} needs {missing}: write them in tests/stored_data.py"
    return lambda split="train", **more: fg.data.build(name, split=split, **options, **more)


@every_set
def test_labelled_samples_in_two_splits(name: str, build: Callable[..., fg.data.Samples]) -> None:
    train, test = build(split="train"), build(split="test")
    for part, split in ((train, "train"), (test, "test")):
        assert part.name == f"{name} ({split})"
        samples = part.samples
        assert samples.dtype == torch.float32
        assert samples.isfinite().all()
        assert len(part) == len(samples) == len(part.labels) > 100
        assert part.labels.dtype == torch.int64
        assert set(part.labels.tolist()) == set(range(part.num_classes))
        assert part.shape == train.shape == tuple(samples.shape[1:])
        assert part.classes is None or len(part.classes) == part.num_classes
        if len(part.shape) == 3 and name != "latents":
            assert samples.abs().max() <= 1
        # Asked for by index, and in parts.
        index = torch.tensor([5, 0, 5])
        data, labels = part.batch(index)
        assert torch.equal(data, samples[index])
        assert torch.equal(data, part[index])
        assert torch.equal(labels, part.labels[index])
        parts = list(part.parts(70))
        assert [len(one) for one, _ in parts] == [len(one) for one in samples.split(70)]
        assert torch.equal(torch.cat([one for one, _ in parts]), samples)
        assert torch.equal(torch.cat([one for _, one in parts]), part.labels)
    rows = {row.numpy().tobytes() for row in train.samples}
    assert sum(row.numpy().tobytes() in rows for row in test.samples) == 0


@every_set
def test_deterministic(name: str, build: Callable[..., fg.data.Samples]) -> None:
    first, again = build(), build()
    assert torch.equal(first.samples, again.samples)
    assert torch.equal(first.labels, again.labels)
    assert first.captions == again.captions
    with pytest.raises(ValueError, match=r"'split' of data set .* must be one of 'train', 'test', not 'val'"):
        build(split="val")


@every_set
def test_streamed_as_in_memory(name: str, build: Callable[..., fg.data.Samples]) -> None:
    if "stream" not in fg.data.registry.options(name):
        pytest.skip("always in memory")
    held, streamed = build(stream=False), build(stream=True)
    assert isinstance(held, fg.data.Dataset)
    assert isinstance(streamed, fg.data.Streamed)
    assert torch.equal(held.samples, streamed.samples)
    assert torch.equal(held.labels, streamed.labels)
    elsewhere = pickle.loads(pickle.dumps(streamed.reader))  # as a worker that is not forked gets it
    assert torch.equal(elsewhere[[3, 0]].images, streamed.reader[[3, 0]].images)
    for attribute in ("classes", "captions", "num_classes", "flip", "shape"):
        assert getattr(held, attribute) == getattr(streamed, attribute)


def test_digits() -> None:
    train, test = (fg.data.build("digits", split=split) for split in ("train", "test"))
    assert (len(train), len(test)) == (1438, 359)
    assert train.shape == (1, 8, 8)
    assert train.data.min() == -1
    assert train.data.max() == 1
    counts = torch.bincount(test.labels)
    assert counts.tolist() == [36, 36, 35, 37, 36, 36, 36, 36, 35, 36]
    # A zero has a hole: its centre is dark and its ring is bright.
    zeros = train.data[train.labels == 0].mean(0)[0]
    assert zeros[3:5, 3:5].max() < -0.5 < 0.2 < zeros[1, 3]


@pytest.mark.parametrize("name", TOYS)
def test_toys_are_about_of_unit_size(name: str) -> None:
    toy = fg.data.build(name, count=5000)
    assert 0.8 < toy.data.std() < 1.2
    assert toy.data.mean(0).abs().max() < 0.06
    for option in ({"count": 0}, {"count": -1}):
        with pytest.raises(ValueError, match="count must be at least 1"):
            fg.data.build(name, **option)


@pytest.mark.parametrize("name", TOYS)
def test_a_longer_draw_begins_like_a_shorter_one(name: str) -> None:
    assert torch.equal(fg.data.build(name, count=50).data, fg.data.build(name, count=80).data[:50])
    assert not torch.equal(fg.data.build(name, count=50).data, fg.data.build(name, count=50, seed=1).data)


def test_moons_lie_on_interleaved_half_circles() -> None:
    moons = fg.data.build("moons", count=4000, noise=0.0)
    for label, centre in ((0, (-0.5, -0.25)), (1, (0.5, 0.25))):
        points = moons.data[moons.labels == label] / 1.4 - torch.tensor(centre)
        torch.testing.assert_close(points.norm(dim=1), torch.ones(len(points)))
        assert (points[:, 1] * (1 - 2 * label)).min() >= -1e-6
    with pytest.raises(ValueError, match="noise is a standard deviation"):
        fg.data.build("moons", noise=-1.0)


def test_spirals_are_two_arms_of_the_same_shape() -> None:
    spirals = fg.data.build("spirals", count=4000, noise=0.0)
    radius = spirals.data.norm(dim=1)
    angle = 1.5 * torch.pi * radius + torch.pi * spirals.labels
    torch.testing.assert_close(spirals.data, radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1))


def test_checkerboard_covers_dark_squares_evenly() -> None:
    board = fg.data.build("checkerboard", count=16000)
    squares = (board.data + 2).floor().long()
    assert ((squares.sum(1) % 2) == 0).all()
    assert torch.equal(squares[:, 1], board.labels)
    counts = torch.bincount(4 * squares[:, 0] + squares[:, 1])
    assert counts[counts > 0].min() > 1800
    assert (counts > 0).sum() == 8


def test_eight_gaussians_follow_their_exact_law() -> None:
    toy = fg.data.build("eight_gaussians", count=20000)
    mixture = eight_gaussians_mixture()
    score = mixture.score(toy.data.double(), toy.labels)
    assert score.mean(0).abs().max() < 5 * 10 / 20000**0.5  # E score = 0; its standard deviation is 1 / 0.1
