"""Classifier guidance: with exact classifiers it is classifier-free guidance; the paper's algorithms; ends; errors."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import network_posterior, states, weights
from torch import Tensor

import flowguide as fg
from flowguide.fields import MixturePosterior, Posterior
from flowguide.paths import KINDS

close = {"rtol": 1e-8, "atol": 1e-8}


class Oracle(Posterior):
    """The posterior of an exact field, and nothing but its probabilities: independent of MixturePosterior."""

    def __init__(self, field: fg.MixtureField) -> None:
        super().__init__()
        self.field, self.path, self.num_classes = field, field.path, field.num_classes

    def log_probs(self, scaled: Tensor, t: Tensor) -> Tensor:
        return self.field.posterior(scaled, t).log()


def guided(field: fg.Field, classifier: Posterior, w=1.0, **options) -> fg.Field:
    return fg.guidance.build("classifier", field, classifier=classifier, w=w, **options)


def exact(field: fg.MixtureField) -> MixturePosterior:
    return MixturePosterior(field.mixture, field.path)


def toy(path: str = "linear", std: float = 0.4) -> fg.MixtureField:
    return fg.MixtureField(fg.oracle.ring(3, std=std), fg.paths.build(path))


@given(states(), weights, st.booleans())
def test_with_the_exact_posterior_it_is_classifier_free_guidance(state, w: float, plain: bool) -> None:
    field, x, t, y = state
    classifier = Oracle(field) if plain else exact(field)
    expected, found = fg.guidance.build("cfg", field, w=w)(x, t, y), guided(field, classifier, w)(x, t, y)
    for kind in KINDS:
        torch.testing.assert_close(getattr(found, kind), getattr(expected, kind), **close)


@given(states(), weights)
def test_on_the_conditional_field_weights_are_one_less(state, w: float) -> None:
    field, x, t, y = state
    expected = guided(field, exact(field), w)(x, t, y)
    found = guided(field, exact(field), w - 1, base="conditional")(x, t, y)
    torch.testing.assert_close(found.velocity, expected.velocity, **close)
    assert torch.equal(guided(field, exact(field), 0.0)(x, t, y).velocity, field(x, t).velocity)


@given(states(), st.sampled_from([*KINDS, "edm"]), weights)
def test_every_kind_is_tilted_alike(state, kind: str, w: float) -> None:
    """Whatever a network predicts, the tilted prediction is that of the tilted score."""
    field, x, t, y = state
    g = exact(field).gradient(x, t, y) * w
    truth = field(x, t)
    expected = field.path.predict("score", truth.score + field.path.at(t, x).alpha * g, x, t)
    if kind == "edm":
        c = field.path.at(t, x)
        row = (c.sigma / (0.5 * c.spread(0.5)), -c.alpha * 0.5 / c.spread(0.5))
        said = fg.paths.Prediction.from_edm(c, x, truth.mean_of(*row), 0.5)
    else:
        said = field.path.predict(kind, getattr(truth, kind), x, t)
    for other in KINDS:
        torch.testing.assert_close(
            getattr(said.tilted(g), other), getattr(expected, other), rtol=1e-6, atol=1e-6, msg=f"{kind} {other}"
        )


@given(states())
def test_a_weight_and_a_label_per_sample(state) -> None:
    """Samples without a label are not guided, whatever their weight."""
    field, x, t, y = state
    y = torch.where(torch.arange(len(x)) % 2 == 0, y, field.num_classes)
    w = torch.linspace(-1, 5, len(x), dtype=torch.float64)
    together = guided(field, exact(field), w)(x, t, y)
    for i in range(len(x)):
        one = slice(i, i + 1)
        alone = guided(field, exact(field), w[i].item())(x[one], t[one], None if i % 2 else y[one])
        torch.testing.assert_close(together.velocity[one], alone.velocity, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("path", fg.paths.names())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_trained_classifier_is_finite_at_both_ends(path: str, dtype: torch.dtype) -> None:
    field = toy(path)
    rule = guided(field, network_posterior(path).to(dtype), 5.0)
    assert (rule.t_min, rule.t_max) == (field.t_min, field.t_max)
    x, y = field.path.prior((3, 2), dtype=dtype), torch.tensor([0, 1, 2])
    for t in (rule.t_min, rule.t_max):
        prediction = rule(x, t, y)
        for kind in KINDS:
            assert getattr(prediction, kind).isfinite().all(), (kind, t)
            assert getattr(prediction, kind).dtype == dtype
        assert not torch.equal(prediction.data, field(x, t).data) or t == rule.t_max


@pytest.mark.parametrize("path", ["vp", "ddpm"])
@pytest.mark.parametrize("w", [1.0, 4.0])
def test_ddim_is_algorithm_2(path: str, w: float) -> None:
    """Written in the paper's alpha-bar, noise prediction and gradient, and run over all steps."""
    field = toy(path)
    classifier, y = Oracle(field), torch.arange(12) % 3
    solver = fg.solvers.build("ddim", steps=6, t_start=0.1, t_end=0.9)
    times = solver.times(field)
    x = start = torch.randn(12, 2, dtype=torch.float64)
    for t, s in pairwise(times):
        bar, bar_before = field.path.alpha(t) ** 2, field.path.alpha(s) ** 2
        state = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(classifier.log_prob(state, t, y).sum(), state)
        noise = field(x, t).noise - w * torch.sqrt(1 - bar) * gradient
        x = torch.sqrt(bar_before) * (x - torch.sqrt(1 - bar) * noise) / torch.sqrt(bar)
        x = x + torch.sqrt(1 - bar_before) * noise
    torch.testing.assert_close(solver.solve(guided(field, exact(field), w), start, y), x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("path", ["vp", "ddpm"])
def test_ddpm_is_algorithm_1_up_to_the_length_of_a_step(path: str) -> None:
    """The mean moves by w beta grad log p(y | x_t), over sqrt(1 - beta); the same noise falls out of the difference."""
    field = toy(path)
    w, x, y = 3.0, torch.randn(12, 2, dtype=torch.float64), torch.arange(12) % 3
    for t, s in ((0.3, 0.4), (0.5, 0.51), (0.5, 0.5001)):
        solver = fg.solvers.build("ddim", eta=1.0, steps=1, t_start=t, t_end=s)
        moved = solver.solve(guided(field, exact(field), w), x, y, seed=0) - solver.solve(field, x, seed=0)
        before, after = field.path.alpha(torch.tensor([t, s], dtype=torch.float64)).tolist()
        beta = 1 - (before / after) ** 2
        shift = w * beta * fg.guidance.build("cfg", field)(x, t, y).score - w * beta * field(x, t).score
        torch.testing.assert_close(moved, shift / math.sqrt(1 - beta), rtol=1e-7, atol=1e-10)
    torch.testing.assert_close(moved, shift, rtol=1e-3, atol=1e-10)


def test_samples_of_every_solver_are_those_of_classifier_free_guidance() -> None:
    field = toy()
    y = torch.arange(9) % 3
    for name, options in (("heun", {}), ("auto", {}), ("ddim", {"eta": 1.0}), ("dpmpp_2m", {})):
        solver = fg.solvers.build(name, steps=8, t_start=0.01, t_end=0.99, **options)
        found, expected = (
            fg.sample(rule, (9, 2), y, solver, dtype=torch.float64)
            for rule in (guided(field, exact(field), 2.0), fg.guidance.build("cfg", field, w=2.0))
        )
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_likelihoods_go_through_it() -> None:
    field = toy("vp", std=0.6)
    x, y = torch.randn(5, 2, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1])
    found, expected = (
        fg.log_likelihood(rule, x, y)
        for rule in (guided(field, exact(field), 2.0), fg.guidance.build("cfg", field, w=2.0))
    )
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_an_unconditional_field_can_be_guided() -> None:
    """As the paper's unconditional models: the rule takes labels that its field does not."""
    field = toy()

    class Unlabelled(fg.Field):
        def __init__(self) -> None:
            super().__init__()
            self.path = field.path

        def null(self, batch: int):
            return None

        def predict(self, x, t, cond):
            assert cond is None
            return field(x, t)

    rule = guided(Unlabelled(), exact(field), 2.0)
    x, y = torch.randn(4, 2, dtype=torch.float64), torch.tensor([0, 1, 2, 3])
    torch.testing.assert_close(rule(x, 0.5, y).score, fg.guidance.build("cfg", field, w=2.0)(x, 0.5, y).score)
    assert rule.num_classes == 3
    assert rule.null(2).tolist() == [3, 3]
    assert torch.equal(rule.drop(y, torch.ones(4, dtype=torch.bool)), torch.full((4,), 3))
    assert fg.sample(rule, (4, 2), y, fg.solvers.build("heun", steps=2, t_start=0.01)).isfinite().all()
    with pytest.raises(ValueError, match="base='conditional' guides a field that takes conditions"):
        guided(Unlabelled(), exact(field), base="conditional")


def test_no_label_or_no_weight_costs_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    field = toy()
    monkeypatch.setattr(Posterior, "gradient", None)
    x, y = torch.randn(3, 2), torch.tensor([0, 1, 2])
    assert torch.equal(guided(field, exact(field), 2.0)(x, 0.5).velocity, field(x, 0.5).velocity)
    assert torch.equal(guided(field, exact(field), 0.0)(x, 0.5, y).velocity, field(x, 0.5).velocity)


class Texts(fg.Field):
    """A field conditioned otherwise than on labels."""

    path = fg.paths.build("linear")

    def null(self, batch: int):
        return torch.zeros(batch, 4)

    def predict(self, x, t, cond):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: guided(toy("vp"), exact(toy("linear"))), r"states of the path Linear\(\), and the field is on VP\("),
        (lambda: guided(toy(), MixturePosterior(fg.oracle.ring(4), toy().path)), "tells 4 classes apart.* takes 3 cla"),
        (lambda: guided(Texts(), exact(toy())), "tells 3 classes .* takes conditions that are no labels"),
        (lambda: fg.guidance.registry.get("classifier")(toy(), fg.networks.build("convnet", channels=1, num_classes=3)),
         "needs a Posterior, a classifier of noisy states with its path .*; ConvNet is none"),
        (lambda: fg.guidance.registry.get("classifier")(toy(), "runs/x"), "needs a Posterior.* not 'runs/x'"),
        (lambda: guided(toy(), exact(toy()), base="other"), "'base' of guidance rule .* must be one of 'unco"),
        (lambda: fg.guidance.registry.get("classifier")(toy(), exact(toy()), base="x"), "base is 'unconditional' or"),
        (lambda: guided(toy(), exact(toy()), math.nan), "w must be a finite number"),
        (lambda: guided(toy(), exact(toy()), [1.0, 2.0])(torch.zeros(3, 2), 0.5, torch.tensor([0, 1, 2])),
         "w has 2 weights for 3 samples"),
        (lambda: guided(toy(), exact(toy()))(torch.zeros(1, 2), 0.5, torch.tensor([7])), "label 7 is not one of the 3"),
    ],
)  # fmt: skip
def test_says_what_is_wrong(make, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize("name", ["interval", "rescale", "dynamic_threshold", "schedule"])
def test_rules_around_it_guide_a_field_without_conditions(name: str) -> None:
    """As they do one that takes labels and is as unconditional without them, but for where that is asked for."""
    field = toy()
    alone = Unconditional(field)
    options = {"interval": {"low": 0.3, "high": 0.7}, "schedule": {"rule": {"name": "classifier"}}}.get(name, {})
    x, y = torch.randn(4, 2, dtype=torch.float64), torch.tensor([0, 1, 2, 0])
    times = torch.tensor([0.1, 0.4, 0.6, 0.9], dtype=torch.float64)

    def around(inner: fg.Field) -> fg.Field:
        if name == "schedule":
            rule = {"name": "classifier", "classifier": exact(field)}
            return fg.guidance.build(name, inner, w=3.0, rule=rule)
        return fg.guidance.build(name, guided(inner, exact(field), w=3.0), **options)

    labelled, found = around(field)(x, times, y), around(alone)(x, times, y)
    inside = slice(1, 3) if name == "interval" else slice(None)
    torch.testing.assert_close(found.velocity[inside], labelled.velocity[inside], **close)
    if name == "interval":
        plain = field(x, times, None).velocity
        torch.testing.assert_close(found.velocity[[0, 3]], plain[[0, 3]], **close)
        torch.testing.assert_close(around(alone)(x, 0.1, y).velocity, field(x, 0.1, None).velocity, **close)
    assert fg.sample(around(alone), x.shape, y, fg.solvers.build("euler", steps=3)).isfinite().all()


class Unconditional(fg.Field):
    """A field that takes no conditions: that of another without any."""

    def __init__(self, field: fg.Field) -> None:
        super().__init__()
        self.field, self.path, self.shape = field, field.path, field.shape

    def null(self, batch: int) -> None:
        return None

    def predict(self, x: Tensor, t: Tensor, cond: Tensor | None) -> fg.paths.Prediction:
        assert cond is None, "asked under conditions"
        return self.field(x, t, None)
