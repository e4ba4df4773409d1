"""Predictions of a batch: put together, taken apart, and chosen between, sample by sample."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import states
from torch.testing import assert_close

import flowguide as fg
from flowguide.paths import KINDS, OUTPUTS, Prediction


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("scalar", [True, False])
def test_the_parts_of_a_batch_are_what_they_would_be_alone(output: str, scalar: bool) -> None:
    path = fg.paths.build("vp")
    x, value = torch.randn(2, 6, 2, 3, dtype=torch.float64)
    t = torch.tensor(0.4).double() if scalar else torch.linspace(0.1, 0.9, 6, dtype=torch.float64)

    def predict(value, x, t) -> Prediction:
        return (
            Prediction.from_edm(path.at(t, x), x, value, 0.5) if output == "edm" else path.predict(output, value, x, t)
        )

    parts = predict(value, x, t).chunk(3)
    assert len(parts) == 3
    for i, part in enumerate(parts):
        rows = slice(2 * i, 2 * i + 2)
        alone = predict(value[rows], x[rows], t if scalar else t[rows])
        for kind in KINDS:
            assert_close(getattr(part, kind), getattr(alone, kind))


@given(states(), st.floats(-2, 3), st.floats(-2, 3))
def test_a_mix_is_affine_in_every_kind(state, v: float, w: float) -> None:
    field, x, t, y = state
    p, q, r = field(x, t), field(x, t, y), field(x, t, (y + 1) % field.num_classes)
    several = torch.linspace(0, 1, len(x), dtype=torch.float64)
    for weight, shaped in ((w, w), (several, several[:, None])):
        mixed = p.mix([q, r], [v, weight])
        for kind in KINDS:
            a, b, c = (getattr(part, kind) for part in (p, q, r))
            assert_close(getattr(mixed, kind), a + v * (b - a) + shaped * (c - a), rtol=1e-8, atol=1e-8)
    assert_close(p.mix([q], [w]).score, p.lerp(q, w).score, rtol=1e-9, atol=1e-9)


@given(states())
def test_where_chooses_by_sample(state) -> None:
    field, x, t, y = state
    mask = torch.arange(len(x)) % 2 == 0
    chosen, p, q = field(x, t, y).where(mask, field(x, t)), field(x, t, y), field(x, t)
    for kind in KINDS:
        assert_close(getattr(chosen, kind), torch.where(mask[:, None], getattr(p, kind), getattr(q, kind)))
