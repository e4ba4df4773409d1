"""Bits per dimension against probabilities of cells that are known exactly."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

import flowguide as fg

WEIGHTS = torch.tensor([0.4, 0.6], dtype=torch.float64)
STDS = torch.tensor([0.25, 0.4], dtype=torch.float64)
LATTICE = {"levels": 6, "low": -1.0, "high": 1.0}
SPACING = 0.4


def means(dim: int) -> Tensor:
    return torch.stack([torch.full((dim,), -0.5), torch.linspace(0.3, 0.6, dim)]).double()


def field(dim: int, scale: float = 1.0, shift: float = 0.0, path: str = "linear") -> fg.MixtureField:
    """Two round Gaussians, in other units on demand."""
    covariances = (scale * STDS).square()[:, None, None] * torch.eye(dim, dtype=torch.float64)
    return fg.MixtureField(
        fg.oracle.GaussianMixture(WEIGHTS, scale * means(dim) + shift, covariances), fg.paths.build(path)
    )


def true_bits(x: Tensor) -> Tensor:
    """Minus log2 of the mass of the cell around each x, over the dimension: products of differences of erf."""
    law = Normal(means(x.shape[1]), STDS[:, None])
    mass = (law.cdf(x[:, None] + SPACING / 2) - law.cdf(x[:, None] - SPACING / 2)).prod(2) @ WEIGHTS
    return -mass.log2() / x.shape[1]


def lattice(dim: int) -> Tensor:
    line = torch.linspace(-1, 1, 6, dtype=torch.float64)
    return torch.cartesian_prod(*[line] * dim).reshape(-1, dim)


@pytest.mark.parametrize("dim", [1, 2])
def test_a_bound_that_many_samples_make_tight(dim: int) -> None:
    points, copies = lattice(dim), 30
    truth = true_bits(points)
    gaps = []
    for samples in (1, 16):
        bits = fg.bits_per_dim(field(dim), points.repeat(copies, 1), samples=samples, **LATTICE)
        bits = bits.reshape(copies, -1)
        error = bits.std(0) / copies**0.5
        assert (bits.mean(0) > truth - 4 * error).all()
        gaps.append(float((bits.mean(0) - truth).mean()))
    assert gaps[0] > 0
    assert abs(gaps[1]) < gaps[0] / 6  # it may fall short of the truth by what 30 copies leave to chance
    assert gaps[1] < 0.02


def test_one_sample_is_in_expectation_the_mean_of_the_log_density() -> None:
    """The exact constant: E_u log p over the cell, by quadrature."""
    points, copies = lattice(1), 300
    u = (torch.arange(400, dtype=torch.float64) + 0.5) / 400
    cells = (points + SPACING * (u - 0.5)).reshape(-1, 1)
    expected = -(field(1).mixture.log_prob(cells).reshape(6, 400).mean(1) + math.log(SPACING)) / math.log(2)
    bits = fg.bits_per_dim(field(1), points.repeat(copies, 1), **LATTICE).reshape(copies, 6)
    assert ((bits.mean(0) - expected).abs() < 4 * bits.std(0) / copies**0.5).all()


def test_the_units_do_not_matter() -> None:
    points = lattice(2)
    tight = {"rtol": 1e-7, "atol": 1e-7, "seed": 3}
    bits = fg.bits_per_dim(field(2), points, **LATTICE, **tight)
    scaled = field(2, scale=127.5, shift=127.5)
    again = fg.bits_per_dim(scaled, 127.5 * points + 127.5, levels=6, low=0.0, high=255.0, **tight)
    torch.testing.assert_close(again, bits, rtol=0, atol=1e-4)
    integers = (127.5 * points + 127.5).round().long()
    again = fg.bits_per_dim(scaled, integers, levels=6, low=0.0, high=255.0, seed=3)
    assert again.dtype == torch.float32
    torch.testing.assert_close(again.double(), bits, rtol=0, atol=1e-2)


def test_a_uniform_density_takes_the_logarithm_of_the_levels() -> None:
    """A law that is wide beside the lattice gives every cell the same mass: log2 of density times spacing, exactly."""
    wide = fg.oracle.GaussianMixture(torch.ones(1), torch.zeros(1, 3), 100.0**2 * torch.eye(3)[None])
    images = torch.linspace(-1, 1, 256)[torch.tensor([[0, 100, 255], [3, 3, 3]])]
    bits = fg.bits_per_dim(fg.MixtureField(wide, fg.paths.build("linear")), images, rtol=1e-6, atol=1e-6)
    expected = math.log2(100 * math.sqrt(2 * math.pi)) - math.log2(2 / 255)
    torch.testing.assert_close(bits, torch.full((2,), expected), rtol=0, atol=1e-3)


def test_a_sample_is_the_same_in_any_batch_and_another_for_another_seed() -> None:
    points = lattice(2)
    options = {**LATTICE, "samples": 2, "exact": False, "rtol": 1e-7, "atol": 1e-7}
    whole = fg.bits_per_dim(field(2), points, seed=1, **options)
    part = fg.bits_per_dim(field(2), points[5:9], seed=1, first=5, **options)
    torch.testing.assert_close(part, whole[5:9], rtol=0, atol=1e-5)
    assert not torch.allclose(fg.bits_per_dim(field(2), points, seed=2, **options), whole)


def test_conditions_guidance_and_other_priors() -> None:
    points = lattice(2)
    y = torch.zeros(len(points), dtype=torch.long)
    on_vp = field(2, path="vp")
    conditional = fg.bits_per_dim(on_vp, points, y, **LATTICE, prior=fg.likelihood.matched_prior(on_vp, y))
    torch.testing.assert_close(conditional, fg.bits_per_dim(field(2), points, y, **LATTICE), rtol=0, atol=1e-3)
    guided = fg.guidance.build("cfg", field(2), w=1.0)
    torch.testing.assert_close(fg.bits_per_dim(guided, points, y, **LATTICE), conditional, rtol=0, atol=1e-3)


def test_images_of_256_levels_under_a_network() -> None:
    torch.manual_seed(0)
    model = fg.NetworkField(fg.networks.build("mlp", dim=64, width=16, depth=1), fg.paths.build("linear"))
    images = torch.randint(256, (3, 1, 8, 8), generator=torch.Generator().manual_seed(0)) / 255 * 2 - 1
    bits = fg.bits_per_dim(model, images, samples=2)
    assert bits.shape == (3,)
    assert bits.isfinite().all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"images": torch.full((2, 1), 0.3)},
            r"0.3 is not one of the 6 values from -1 to 1; give levels, low and high",
        ),
        ({"images": torch.full((2, 1), 1.4)}, "1.4 is not one of the 6 values"),
        ({"images": torch.full((2, 1), math.nan)}, "nan is not one of the 6 values"),
        ({"images": torch.full((2, 1), 3, dtype=torch.uint8)}, "3 is not one of the 6 values"),
        ({"images": torch.ones(2)}, r"data are floating-point tensors of shape \(B, \*\)"),
        ({"levels": 1}, "a lattice has at least 2 levels, not 1"),
        ({"low": 1.0}, "a lattice needs low < high, both finite, not low=1.0, high=1.0"),
        ({"high": math.inf}, "a lattice needs low < high, both finite"),
        ({"samples": 0}, "samples must be at least 1, not 0"),
        ({"probes": 0}, "probes must be at least 1"),
        ({"seed": -1}, "a seed must be an integer"),
        ({"cond": torch.tensor([0])}, "one condition per sample: got 1 for 2"),
    ],
)
def test_says_what_is_wrong(change: dict, words: str) -> None:
    arguments = {"images": torch.ones(2, 1), **LATTICE, **change}
    with pytest.raises(ValueError, match=words):
        fg.bits_per_dim(field(1), **arguments)
