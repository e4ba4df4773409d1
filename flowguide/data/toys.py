"""Labelled toys in two dimensions, scaled to a standard deviation of about 1."""

import math

import torch
from torch import Tensor

from ..fields.oracle import GaussianMixture, ring
from ..randomness import derive, normal, uniform
from .base import Dataset, Split, datasets


def eight_gaussians_mixture() -> GaussianMixture:
    """The law of ``eight_gaussians``, for exact fields: round Gaussians on a circle of radius 1.4, a label each."""
    return ring(8, radius=1.4, std=0.1)


@datasets.register("eight_gaussians")
def eight_gaussians(split: Split = "train", count: int = 20000, seed: int = 0) -> Dataset:
    """Eight Gaussians on a circle, a label each; their law is known exactly.

    Args:
        split: "train" or "test": independent draws.
        count: Number of samples.
        seed: Of the draw.
    """
    law = eight_gaussians_mixture()
    return Dataset(f"eight_gaussians ({split})", *law.sample(_count(count), _seed(seed, split)), 8, law)


@datasets.register("moons")
def moons(split: Split = "train", count: int = 20000, seed: int = 0, noise: float = 0.08) -> Dataset:
    """Two interleaved half circles with Gaussian noise, a label each.

    Args:
        split: "train" or "test": independent draws.
        count: Number of samples.
        seed: Of the draw.
        noise: Standard deviation of the noise, in data units.
    """
    along, labels = _along_and_labels(count, 2, _seed(seed, split))
    angle = math.pi * (along + labels)
    # Each half circle begins inside the other; together they are centred.
    centre = torch.stack([labels - 0.5, 0.5 * labels - 0.25], dim=1)
    points = 1.4 * (torch.stack([angle.cos(), angle.sin()], dim=1) + centre)
    return Dataset(f"moons ({split})", points + _jitter(points, noise, seed, split), labels, 2)


@datasets.register("spirals")
def spirals(split: Split = "train", count: int = 20000, seed: int = 0, noise: float = 0.04) -> Dataset:
    """Two intertwined spirals of one and a half turns with Gaussian noise, a label each.

    Args:
        split: "train" or "test": independent draws.
        count: Number of samples.
        seed: Of the draw.
        noise: Standard deviation of the noise, in data units.
    """
    along, labels = _along_and_labels(count, 2, _seed(seed, split))
    # The square root spreads the points evenly along the arms.
    radius = 2 * along.sqrt()
    angle = 1.5 * math.pi * radius + math.pi * labels
    points = radius[:, None] * torch.stack([angle.cos(), angle.sin()], dim=1)
    return Dataset(f"spirals ({split})", points + _jitter(points, noise, seed, split), labels, 2)


@datasets.register("checkerboard")
def checkerboard(split: Split = "train", count: int = 20000, seed: int = 0) -> Dataset:
    """Uniform on the eight dark squares of a 4x4 board of side 4, labelled by row.

    Args:
        split: "train" or "test": independent draws.
        count: Number of samples.
        seed: Of the draw.
    """
    inside = uniform((_count(count), 3), _seed(seed, split))
    labels = torch.arange(count) % 4
    column = 2 * (inside[:, 2] * 2).floor().clamp(max=1) + labels % 2
    points = torch.stack([column, labels.to(column)], dim=1) + inside[:, :2] - 2
    return Dataset(f"checkerboard ({split})", points, labels, 4)


def _count(count: int) -> int:
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}")
    return count


def _seed(seed: int, split: Split) -> int:
    """Independent draws for training and testing."""
    return derive(seed, 0 if split == "train" else 1)


def _along_and_labels(count: int, classes: int, seed: int) -> tuple[Tensor, Tensor]:
    """A place in (0, 1) along the curve, and labels in turn."""
    return uniform((_count(count), 1), seed)[:, 0], torch.arange(count) % classes


def _jitter(points: Tensor, noise: float, seed: int, split: Split) -> Tensor:
    if not 0 <= noise < math.inf:
        raise ValueError(f"noise is a standard deviation, at least 0, not {noise}")
    return noise * normal(points.shape, _seed(seed, split), stream=1)
