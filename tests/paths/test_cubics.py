import torch
from hypothesis import given
from hypothesis import strategies as st

from flowguide.paths.cubics import rising_cubics


def curve(coefficients: torch.Tensor, s: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Values and derivatives at s between every two knots, each of shape (N, len(s))."""
    c0, c1, c2, c3 = (c[:, None] for c in coefficients.unbind(1))
    return c0 + c1 * s + c2 * s**2 + c3 * s**3, c1 + 2 * c2 * s + 3 * c3 * s**2


@given(st.lists(st.floats(1e-3, 1e3), min_size=3, max_size=20))
def test_rises_through_the_knots_with_one_slope_at_each(increments: list[float]) -> None:
    steps = torch.tensor(increments, dtype=torch.float64)
    values, slopes = curve(rising_cubics(steps), torch.linspace(0, 1, 51, dtype=torch.float64))
    knots = torch.cat([steps.new_zeros(1), steps.cumsum(0)])
    torch.testing.assert_close(values[:, 0], knots[:-1], rtol=1e-12, atol=1e-9)
    torch.testing.assert_close(values[:, -1], knots[1:], rtol=1e-12, atol=1e-9)
    torch.testing.assert_close(slopes[1:, 0], slopes[:-1, -1], rtol=1e-9, atol=1e-9)
    assert (slopes > 0).all()


@given(st.floats(0.1, 2), st.floats(0, 0.1), st.floats(0, 0.01))
def test_reproduces_cubics(a: float, b: float, c: float) -> None:
    r = torch.arange(11, dtype=torch.float64)
    s = torch.linspace(0, 1, 11, dtype=torch.float64)
    values, _ = curve(rising_cubics((a * r + b * r**2 + c * r**3).diff()), s)
    wanted = r[:-1, None] + s
    torch.testing.assert_close(values, a * wanted + b * wanted**2 + c * wanted**3, rtol=1e-11, atol=1e-11)
