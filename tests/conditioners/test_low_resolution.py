"""What a super-resolution stage is told: a small image with noise of a level that is told too."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flowguide import conditioners, data
from flowguide.conditioners.low_resolution import augmented
from flowguide.networks import joined

DATA = data.Dataset("ramps", torch.linspace(-1, 1, 40 * 2 * 8 * 8).reshape(40, 2, 8, 8), torch.arange(40) % 3, 3)


def told(augmentation: float | None, seed: int = 0, size: int = 4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Data, labels and the conditions of all of them."""
    same, tell = conditioners.build("low_resolution", size=size, augmentation=augmentation).prepare(DATA)
    images, labels = same.batch(torch.arange(40))
    return images, labels, tell(images, labels, torch.Generator().manual_seed(seed))


def test_without_noise_it_is_the_means_of_blocks_and_the_label() -> None:
    images, labels, cond = told(None)
    assert cond.shape == (40, 3, 4, 4)
    assert torch.equal(cond[:, 2, 1, 3].long(), labels)
    expected = images[7, 1, 2:4, 6:8].mean()
    assert cond[7, 1, 1, 3] == pytest.approx(float(expected), abs=1e-6)


@settings(deadline=None, max_examples=25)
@given(largest=st.floats(0.05, 1), seed=st.integers(0, 1000))
def test_levels_are_uniform_and_told_and_the_noise_is_of_them(largest: float, seed: int) -> None:
    """What is left after the scaled image is taken away, over its level, is standard normal."""
    images, labels, cond = told(largest, seed)
    level = cond[:, 2, 0, 0].double()
    assert torch.equal(cond[:, 2], cond[:, 2, :1, :1].expand(-1, 4, 4))
    assert torch.equal(cond[:, 3, 0, 0].long(), labels)
    assert level.min() >= 0
    assert level.max() <= largest
    assert abs(level.mean() / largest - 0.5) < 6 / math.sqrt(12 * 40)
    small = data.reduce(images, 4).double()
    s = level[:, None, None, None]
    residual = (cond[:, :2].double() - (1 - s**2).sqrt() * small) / s.clamp(min=1e-3)
    residual = residual[level > 0.02]
    deviations = math.sqrt(residual.numel())
    assert abs(float(residual.mean())) < 6 / deviations
    assert abs(float(residual.var()) - 1) < 6 * math.sqrt(2) / deviations


@settings(deadline=None, max_examples=25)
@given(level=st.floats(0, 1))
def test_noise_keeps_the_variance_of_images_of_unit_variance(level: float) -> None:
    generator = torch.Generator().manual_seed(0)
    images, noise = (torch.randn(200, 1, 8, 8, generator=generator) for _ in range(2))
    seen = augmented(images, torch.full((200,), level), noise)
    assert float(seen[:, :1].var()) == pytest.approx(1, abs=0.06)


def test_images_are_shown_the_same_in_every_batch() -> None:
    conditioner = conditioners.build("low_resolution", size=4, augmentation=0.5)
    images = data.reduce(DATA.samples, 4)
    whole = conditioner.show(images, 0.3, seed=5)
    parts = [conditioner.show(images[i : i + 7], 0.3, seed=5, first=i) for i in range(0, 40, 7)]
    torch.testing.assert_close(torch.cat(parts), whole)
    assert not torch.equal(conditioner.show(images, 0.3, seed=6), whole)
    assert torch.equal(conditioner.show(images)[:, :2], images)


def test_what_is_beside_the_image_is_what_its_conditioner_tells() -> None:
    """Captions and attributes, as their own conditioners tell them, with their options and what is none."""
    glyphs = data.build("glyphs", size=16, count=12, letters="AB", colours=["red", "cyan"])
    words = {"name": "text", "encoder": "words", "max_length": 12, "tokens": True}
    for beside in (words, {"name": "attributes", "dropout": 0.0}):
        own = conditioners.registry.build_from(beside)
        conditioner = conditioners.build("low_resolution", size=8, augmentation=None, beside=beside)
        (mine, tell), (theirs, tell_own) = conditioner.prepare(glyphs), own.prepare(glyphs)
        assert torch.equal(mine.labels, theirs.labels)
        images, rows = mine.batch(torch.arange(5, 12))
        generator = torch.Generator().manual_seed(0)
        expected = joined(data.reduce(images, 8), tell_own(images, rows, generator))
        torch.testing.assert_close(tell(images, rows, generator), expected, rtol=0, atol=0, equal_nan=True)
        assert conditioner.options(glyphs) == {**own.options(glyphs), "extra_channels": 3}
        torch.testing.assert_close(conditioner.null(), own.null(), rtol=0, atol=0, equal_nan=True)
        assert conditioner.of_samples


@pytest.mark.parametrize(("augmentation", "extra"), [(None, 2), (0.0, 3), (0.5, 3)])
def test_the_network_has_channels_for_image_and_level(augmentation: float | None, extra: int) -> None:
    conditioner = conditioners.build("low_resolution", size=4, augmentation=augmentation)
    assert conditioner.options(DATA) == {"num_classes": 3, "extra_channels": extra}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"size": 0}, "size is of the small image in pixels, at least 1, not 0"),
        ({"size": 4, "augmentation": 1.5}, r"a level of noise in \[0, 1\], not 1.5"),
        ({"size": 4, "augmentation": -0.1}, r"a level of noise in \[0, 1\], not -0.1"),
        ({"size": 4, "beside": "lable"}, "unknown conditioner 'lable'; did you mean 'label'"),
        ({"size": 4, "beside": {"name": "low_resolution", "size": 4}}, "a stage is shown one image"),
        ({"size": 4, "beside": "text"}, "tells captions, and ramps has none"),
        ({"size": 3}, r"samples of shape \(2, 8, 8\) cannot be reduced to 3x3"),
        ({"size": 8}, "cannot be reduced to 8x8"),
        ({"size": 16}, "cannot be reduced to 16x16"),
    ],
)
def test_mistakes(options: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        conditioners.build("low_resolution", **options).prepare(DATA)


@pytest.mark.parametrize(
    ("trained", "asked", "sentence"),
    [
        (0.5, 0.6, "augmentation=0.6 is more than was trained with, which was levels up to 0.5"),
        (None, 0.1, "which was no noise"),
        (0.5, 1.1, r"a level of noise in \[0, 1\], not 1.1"),
    ],
)
def test_a_level_that_was_not_trained_is_refused(trained: float | None, asked: float, sentence: str) -> None:
    conditioner = conditioners.build("low_resolution", size=4, augmentation=trained)
    with pytest.raises(ValueError, match=sentence):
        conditioner.show(data.reduce(DATA.samples, 4), asked)


def test_points_are_no_images() -> None:
    with pytest.raises(ValueError, match=r"samples of shape \(2,\) cannot be reduced to 4x4"):
        conditioners.build("low_resolution", size=4).prepare(data.build("moons", count=20))
