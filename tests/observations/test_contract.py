"""What every observation must do: be linear, have the transpose that it says, solve what it says; and bad options."""

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import generator, seeds
from torch.testing import assert_close

import flowguide as fg

OPTIONS = {"matrix": {"rows": torch.randn(7, 32, generator=generator(3), dtype=torch.float64)}}
SHAPE = (2, 4, 4)
NAMES = fg.observations.names()


class Mean(fg.observations.Observation):
    """As small as one can be: all else follows."""

    def __call__(self, x):
        return x.flatten(1).mean(1, keepdim=True)


def build(name: str, **more) -> fg.observations.Observation:
    return Mean(**more) if name == "mean" else fg.observations.build(name, **OPTIONS.get(name, {}), **more)


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


@pytest.mark.parametrize("name", [*NAMES, "mean"])
@given(seeds, st.floats(-3, 3))
def test_is_linear_and_has_its_transpose(name: str, seed: int, scale: float) -> None:
    see, x, z = build(name), draw(seed, 3, *SHAPE), draw(seed + 1, 3, *SHAPE)
    assert_close(see(x + scale * z), see(x) + scale * see(z))
    y = draw(seed + 2, 3, *see.observed_shape(SHAPE))
    back = see.transpose(y, SHAPE)
    assert back.shape == x.shape
    assert_close((see(x) * y).flatten(1).sum(1), (x * back).flatten(1).sum(1))
    assert_close(see(x).flatten(1), x.flatten(1) @ see.matrix(SHAPE).T)
    assert_close(see(x[1:2]), see(x)[1:2])


@pytest.mark.parametrize("name", [*NAMES, "mean"])
@given(seeds, st.floats(0.01, 2), st.floats(0, 2))
def test_solves_against_the_matrix(name: str, seed: int, a: float, b: float) -> None:
    see = build(name)
    residual = see(draw(seed, 3, *SHAPE))
    matrix = see.matrix(SHAPE)
    gram = a * torch.eye(len(matrix), dtype=torch.float64) + b * matrix @ matrix.T
    expected = torch.linalg.solve(gram, residual.flatten(1).T).T
    assert_close(see.solve(residual, a, b, SHAPE).flatten(1), expected, rtol=1e-6, atol=1e-8)
    per_sample = torch.full((3, *[1] * (residual.ndim - 1)), b, dtype=torch.float64)
    assert_close(see.solve(residual, a, per_sample, SHAPE), see.solve(residual, a, b, SHAPE))


@pytest.mark.parametrize("name", [*NAMES, "mean"])
def test_noise_has_its_deviation_and_does_not_depend_on_the_batch(name: str) -> None:
    see, x = build(name, std=0.3), draw(0, 4000, *SHAPE)
    y = see.observe(x, seed=5)
    residual = see.residual(y, x)
    seen = residual[:, residual.std(0) > 0] if name == "mask" else residual
    assert abs(seen.std() - 0.3) < 0.01
    assert_close(see.observe(x[7:9], seed=5, first=7), y[7:9])
    assert torch.equal(build(name, std=0.0).observe(x), build(name)(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", [*NAMES, "mean"])
def test_any_dtype(name: str, dtype: torch.dtype) -> None:
    see, x = build(name), draw(0, 2, *SHAPE).to(dtype)
    y = see(x)
    assert y.dtype == see.transpose(y, SHAPE).dtype == see.solve(y, 0.1, 1.0, SHAPE).dtype == dtype


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ({"hidden": "bottom"}, [[1, 1, 1], [1, 1, 1], [0, 0, 0], [0, 0, 0]]),
        ({"hidden": "top", "share": 0.25}, [[0, 0, 0], [1, 1, 1], [1, 1, 1], [1, 1, 1]]),
        ({"hidden": "left", "share": 0.3}, [[0, 1, 1]] * 4),
        ({"hidden": "right", "share": 0.7}, [[1, 0, 0]] * 4),
        ({"hidden": "box", "box": [1, 0, 2, 2]}, [[1, 1, 1], [0, 0, 1], [0, 0, 1], [1, 1, 1]]),
        ({"keep": torch.eye(4, 3)}, torch.eye(4, 3).tolist()),
    ],
)
def test_what_masks_hide(options: dict, seen: list) -> None:
    see = fg.observations.build("mask", **options)
    assert torch.equal(see(torch.ones(2, 5, 4, 3)), torch.tensor(seen).float().expand(2, 5, 4, 3))


def test_random_entries_are_hidden_in_all_channels_alike() -> None:
    see = fg.observations.build("mask", hidden="random", share=0.75)
    mask = see.mask((3, 64, 64))
    assert abs(mask.float().mean() - 0.25) < 0.02
    assert mask.shape == (64, 64)
    assert not torch.equal(mask, fg.observations.build("mask", hidden="random", share=0.75, seed=1).mask((3, 64, 64)))


def test_hidden_entries_are_not_looked_at() -> None:
    see = fg.observations.build("mask")
    y = torch.tensor([[1.0, float("nan")]])
    assert torch.equal(see.residual(y, torch.zeros(1, 2)), torch.tensor([[1.0, 0.0]]))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: build("mask", std=-0.1), "std is the standard deviation of the noise, at least 0, not -0.1"),
        (lambda: build("mask", share=1.0), "share is how much the mask hides"),
        (lambda: build("mask", hidden="box"), "go together"),
        (lambda: build("mask", hidden="box", box=[0, 0, 0, 2]), "box is "),
        (lambda: build("mask", hidden="middle"), "must be one of 'bottom'"),
        (lambda: build("mask", hidden="box", box=[0, 0, 9, 2]).check((1, 8, 8)), r"box \[0, 0, 9, 2\] is not inside"),
        (lambda: build("mask", hidden="left").check((4,)), "have no columns"),
        (lambda: build("mask", keep=torch.ones(4, 4))(torch.ones(1, 1, 8, 8)), r"mask has the shape \(4, 4\) and the"),
        (lambda: build("downsample", factor=1), "factor is .* at least 2, not 1"),
        (lambda: build("downsample", factor=3).observe(torch.ones(1, 1, 8, 8)), "blocks of 3 x 3 fill, not samples"),
        (lambda: build("blur", width=0.0), "width is .* above 0"),
        (lambda: build("blur").check((8,)), "blur takes images"),
        (lambda: fg.observations.build("matrix", rows=[1.0]), "must be a list, each entry a list"),
        (lambda: fg.observations.build("matrix", rows=torch.ones(3)), "rows must be a matrix"),
        (lambda: fg.observations.build("matrix", rows=[[1.0, 0.0], [1.0]]), r"as many in every row, not \[\[1.0, 0.0"),
        (lambda: fg.observations.build("matrix", rows=[[1.0, 0.0]]).check((3,)), "takes 2 numbers, and samples"),
        (lambda: fg.observations.build("maks"), "unknown observation 'maks'; did you mean 'mask'"),
    ],
)  # fmt: skip
def test_says_what_is_wrong(make, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_a_blur_is_a_gaussian_convolution() -> None:
    """Of a point, far from the edges: the Gaussian at the pixels, independent of any transform."""
    point = torch.zeros(1, 1, 32, 32, dtype=torch.float64)
    point[0, 0, 16, 16] = 1
    offset = numpy.arange(32) - 16.0
    kernel = numpy.exp(-0.5 * (offset / 1.5) ** 2)
    expected = torch.from_numpy(numpy.outer(kernel, kernel) / kernel.sum() ** 2)
    assert_close(fg.observations.build("blur", width=1.5)(point)[0, 0], expected, rtol=0, atol=1e-5)
