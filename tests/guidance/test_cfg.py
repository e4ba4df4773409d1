"""Classifier-free guidance on exact fields: what Bayes' rule says, for every path, weight and kind of prediction."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rules import Counting
from strategies import states, weights

import flowguide as fg
from flowguide.paths import KINDS

close = {"rtol": 1e-9, "atol": 1e-9}


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
    for w, cond, batched, count, samples in (
        (2.0, y, False, 2, 8),
        (2.0, y, True, 1, 8),
        (2.0, y, None, 2, 8),  # no network: there is nothing to be saved
        (1.0, y, None, 1, 4),
        (0.0, y, None, 1, 4),
        (3.0, None, None, 1, 4),
    ):
        field.count = field.samples = 0
        fg.guidance.build("cfg", field, w=w, batched=batched)(x, 0.5, cond)
        assert (field.count, field.samples) == (count, samples)


def test_a_network_is_evaluated_once_for_few_samples_and_twice_for_many() -> None:
    network = fg.networks.build("mlp", dim=2, num_classes=3, width=8, depth=1)
    calls = []
    network.register_forward_hook(lambda module, inputs, output: calls.append(len(inputs[0])))
    field = fg.NetworkField(network, fg.paths.build("linear"))
    for name in ("cfg", "apg", "tangential", "rescale", "interval", "multi"):
        for batch, expected in ((4, [8]), (100, [100, 100])):
            calls.clear()
            fg.guidance.build(name, field, w=2.0)(torch.randn(batch, 2), 0.5, torch.arange(batch) % 3)
            assert calls == expected


def test_a_field_that_knows_none_and_not_the_null_label_is_asked_with_none() -> None:
    class Two(fg.MixtureField):
        def predict(self, x, t, cond):
            p = super().predict(x, t, cond)
            return p if cond is not None else self.path.predict("velocity", p.velocity + 1, x, t)

    field = Two(fg.oracle.ring(3), fg.paths.build("linear"))
    x, y = torch.randn(3, 2), torch.arange(3)
    expected = 2 * field(x, 0.5, y).velocity - field(x, 0.5).velocity
    torch.testing.assert_close(cfg(field, 2.0)(x, 0.5, y).velocity, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("predicts", ["velocity", "noise", "edm"])
@pytest.mark.parametrize("scalar", [True, False])
def test_a_doubled_batch_gives_the_same_numbers(predicts: str, scalar: bool) -> None:
    """A network in float32, with one time for all or one each; and rules per sample within a rule are left alone."""
    torch.manual_seed(0)
    network = fg.networks.build("mlp", dim=2, num_classes=3, width=16)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    field = fg.NetworkField(network, fg.paths.build("vp"), predicts)
    x, t, y = torch.randn(7, 2), torch.tensor(0.4) if scalar else torch.linspace(0.1, 0.9, 7), torch.arange(7) % 3
    once, twice = (fg.guidance.build("cfg", field, w=2.5, batched=b)(x, t, y) for b in (True, False))
    for kind in KINDS:
        torch.testing.assert_close(getattr(once, kind), getattr(twice, kind), rtol=1e-4, atol=1e-5)
    inner = fg.guidance.build("cfg", field, w=torch.linspace(0, 2, 7))
    assert fg.guidance.build("cfg", inner, w=2.0, batched=True)(x, t, y).velocity.isfinite().all()


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


@pytest.mark.parametrize("solver", ["auto", "heun", "dpmpp_2m"])
def test_a_sweep_over_w_is_one_batch(solver: str) -> None:
    """The same noise under every weight: one run of a batch of all, or one run each."""
    field = fg.MixtureField(fg.oracle.ring(3, std=0.4), fg.paths.build("vp"))
    solver, y = fg.solvers.build(solver, steps=8), torch.arange(6) % 3
    sweep, noise = torch.tensor([0.0, 1.0, 2.5, 4.0]), field.path.prior((6, 2), seed=0, dtype=torch.float64)
    together = solver.solve(cfg(field, sweep.repeat_interleave(6)), noise.repeat(4, 1), y.repeat(4))
    for w, samples in zip(sweep.tolist(), together.chunk(4), strict=True):
        torch.testing.assert_close(samples, solver.solve(cfg(field, w), noise, y), rtol=1e-9, atol=1e-9)
