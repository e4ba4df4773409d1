"""Classifier-free guidance on exact fields: what Bayes' rule says, for every path, weight and kind of prediction."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import states, weights

import flowguide as fg
from flowguide.fields import MixturePosterior
from flowguide.paths import KINDS

close = {"rtol": 1e-9, "atol": 1e-9}


class Counting(fg.Field):
    """A field that counts its evaluations."""

    def __init__(self, field: fg.Field) -> None:
        super().__init__()
        self.field, self.path, self.num_classes, self.count = field, field.path, field.num_classes, 0

    def null(self, batch: int):
        return self.field.null(batch)

    def predict(self, x, t, cond):
        self.count += 1
        return self.field(x, t, cond)


def cfg(field: fg.Field, w) -> fg.Field:
    return fg.guidance.build("cfg", field, w=w)


@given(states())
def test_w_0_is_unconditional_and_w_1_conditional(state) -> None:
    field, x, t, y = state
    for kind in KINDS:
        for w, expected in ((0.0, field(x, t)), (1.0, field(x, t, y))):
            assert torch.equal(getattr(cfg(field, w)(x, t, y), kind), getattr(expected, kind))
            several = cfg(field, torch.full((len(x),), w))(x, t, y)
            torch.testing.assert_close(getattr(several, kind), getattr(expected, kind), rtol=1e-12, atol=1e-12)


@given(states(), weights)
def test_affine_in_w_for_every_kind(state, w: float) -> None:
    field, x, t, y = state
    u, c, g = field(x, t), field(x, t, y), cfg(field, w)(x, t, y)
    for kind in KINDS:
        mix = (1 - w) * getattr(u, kind) + w * getattr(c, kind)
        torch.testing.assert_close(getattr(g, kind), mix, **close)


@given(states(), weights)
def test_the_guided_score_is_that_of_the_tilted_density(state, w: float) -> None:
    """s(x) + w grad log p(y | x), the gradient taken by autograd of the exact posterior."""
    field, x, t, y = state
    x.requires_grad_()
    log_posterior = field.posterior(x, t)[torch.arange(len(x)), y].log()
    (gradient,) = torch.autograd.grad(log_posterior.sum(), x)
    x = x.detach()
    torch.testing.assert_close(cfg(field, w)(x, t, y).score, field(x, t).score + w * gradient, rtol=1e-8, atol=1e-8)


@given(states(), weights, st.sampled_from(KINDS))
def test_commutes_with_conversions(state, w: float, kind: str) -> None:
    """Guiding a network that predicts one kind gives what guiding a network that predicts another would."""
    field, x, t, y = state

    class Says(fg.Field):
        """Knows one kind only, as a network does."""

        def __init__(self) -> None:
            super().__init__()
            self.path, self.num_classes = field.path, field.num_classes

        def null(self, batch: int):
            return field.null(batch)

        def predict(self, x, t, cond):
            return self.path.predict(kind, getattr(field(x, t, cond), kind), x, t)

    exact, network = cfg(field, w)(x, t, y), cfg(Says(), w)(x, t, y)
    for other in KINDS:
        torch.testing.assert_close(getattr(network, other), getattr(exact, other), rtol=1e-8, atol=1e-8)


@given(states())
def test_a_weight_per_sample_is_a_loop_over_samples(state) -> None:
    field, x, t, y = state
    w = torch.linspace(-1, 5, len(x), dtype=torch.float64)
    together = cfg(field, w)(x, t, y)
    for i in range(len(x)):
        alone = cfg(field, w[i].item())(x[i : i + 1], t[i : i + 1], y[i : i + 1])
        for kind in KINDS:
            torch.testing.assert_close(getattr(together, kind)[i : i + 1], getattr(alone, kind), rtol=1e-10, atol=1e-10)


@given(states(), weights, weights)
def test_rules_nest(state, inner: float, outer: float) -> None:
    """The inner rule's unconditional prediction is unconditional, so weights multiply."""
    field, x, t, y = state
    nested, flat = cfg(cfg(field, inner), outer), cfg(field, inner * outer)
    torch.testing.assert_close(nested(x, t, y).velocity, flat(x, t, y).velocity, **close)


def test_evaluates_no_more_than_it_must() -> None:
    field = Counting(fg.MixtureField(fg.oracle.ring(3), fg.paths.build("linear")))
    x, y = torch.randn(4, 2), torch.tensor([0, 1, 2, 0])
    for w, cond, expected in ((2.0, y, 2), (1.0, y, 1), (0.0, y, 1), (3.0, None, 1)):
        field.count = 0
        cfg(field, w)(x, 0.5, cond)
        assert field.count == expected


def test_mixes_fields_that_predict_different_kinds() -> None:
    path = fg.paths.build("linear")
    x, t = torch.randn(5, 2, dtype=torch.float64), torch.tensor(0.4, dtype=torch.float64)
    a, b = torch.randn(2, 5, 2, dtype=torch.float64)
    p, q = path.predict("noise", a, x, t), path.predict("data", b, x, t)
    torch.testing.assert_close(p.lerp(q, 3.0).velocity, -2 * p.velocity + 3 * q.velocity)


@pytest.mark.parametrize(
    ("w", "words"),
    [
        (float("nan"), "w must be a finite number"),
        (float("inf"), "w must be a finite number"),
        (torch.tensor([1.0, float("nan")]), "every guidance weight must be finite"),
        (torch.ones(2, 2), r"shape \(B,\), not of shape \(2, 2\)"),
        ([], r"shape \(B,\), not of shape \(0,\)"),
        ("two", "must be a number or a list"),
    ],
)
def test_says_what_is_wrong_with_w(w, words: str) -> None:
    field = fg.MixtureField(fg.oracle.ring(3), fg.paths.build("linear"))
    with pytest.raises(ValueError, match=words):
        cfg(field, w)


def test_as_many_weights_as_samples() -> None:
    rule = cfg(fg.MixtureField(fg.oracle.ring(3), fg.paths.build("linear")), [1.0, 2.0])
    with pytest.raises(ValueError, match="w has 2 weights for 3 samples"):
        rule(torch.zeros(3, 2), 0.5, torch.tensor([0, 1, 2]))


def test_needs_a_null_condition() -> None:
    unconditional = fg.NetworkField(fg.networks.build("mlp", dim=2), fg.paths.build("linear"))
    with pytest.raises(ValueError, match="cfg needs a field with a null condition"):
        cfg(unconditional, 2.0)


def needs(name: str, field: fg.MixtureField) -> dict:
    """What a rule must be given besides the field."""
    return {"classifier": MixturePosterior(field.mixture, field.path)} if name == "classifier" else {}


@pytest.mark.parametrize("name", fg.guidance.names())
def test_every_rule_is_a_field_of_fields(name: str) -> None:
    field = fg.MixtureField(fg.oracle.ring(3), fg.paths.build("vp"))
    rule = fg.guidance.build(name, field, **needs(name, field))
    assert isinstance(rule, fg.Field)
    assert rule.path == field.path
    assert (rule.t_min, rule.t_max) == (field.t_min, field.t_max)
    x, y = torch.randn(4, 2), torch.tensor([0, 1, 2, 3])
    for cond in (y, None):
        for kind in KINDS:
            assert getattr(rule(x, 0.5, cond), kind).isfinite().all()
    with pytest.raises(ValueError, match="guidance acts on a Field"):
        fg.guidance.build(name, lambda x, t, cond: x, **needs(name, field))
