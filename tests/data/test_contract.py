"""What must hold of every registered data set."""

import pytest
import torch

import flowguide as fg
from flowguide.data.toys import eight_gaussians_mixture

every_set = pytest.mark.parametrize("name", fg.data.names())
TOYS = ["checkerboard", "eight_gaussians", "moons", "spirals"]


@every_set
def test_labelled_samples_in_two_splits(name: str) -> None:
    train, test = (fg.data.build(name, split=split) for split in ("train", "test"))
    for part, split in ((train, "train"), (test, "test")):
        assert part.name == f"{name} ({split})"
        assert part.data.dtype == torch.float32
        assert part.data.isfinite().all()
        assert len(part) == len(part.data) == len(part.labels) > 100
        assert part.labels.dtype == torch.int64
        assert set(part.labels.tolist()) == set(range(part.num_classes))
        assert part.shape == train.shape
    rows = {tuple(row) for row in train.data.flatten(1).tolist()}
    assert sum(tuple(row) in rows for row in test.data.flatten(1).tolist()) == 0


@every_set
def test_deterministic(name: str) -> None:
    first, again = fg.data.build(name), fg.data.build(name)
    assert torch.equal(first.data, again.data)
    assert torch.equal(first.labels, again.labels)
    with pytest.raises(ValueError, match=r"'split' of data set .* must be one of 'train', 'test', not 'val'"):
        fg.data.build(name, split="val")


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
